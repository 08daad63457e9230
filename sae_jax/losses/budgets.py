"""Reconstructions from more or fewer latents than the model keeps, so that k may change later."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sae_jax import types
from sae_jax.ops import blocked, geometry, select, sharded, sparse


def multi_topk(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    k: int = 128,
    relu: bool = True,
) -> Float[Array, " batch"]:
    """Returns the squared error from the k largest pre-activations of each example, summed over d.

    Multi-TopK (Gao et al. 2024, arXiv 2406.04093): beside the error of TopK with k latents, that
    with 4 k of them, of weight 1/8, so that one dictionary serves several k.

    Args:
      params: `w_dec` and `b_dec` are read.
      batch: the target is read.
      output: its pre-activations are read.
      context: not read.
      k: how many are kept, at most all.
      relu: whether a kept one that is negative becomes 0.
    """
    del context
    w_dec, pre = geometry.decoder_rows(params, output), output.pre
    k = min(k, w_dec.shape[0])
    act = jax.nn.relu if relu else lambda x: x
    if blocked.is_blocked(pre):
        values, indices, _ = blocked.top_k(pre, k, blocked.scaled_by(output.extras.get("compared")))
        x_hat = sparse.decode(act(values), indices, w_dec)
    elif sparse.pays(k, w_dec.shape[0]):
        indices = sharded.top_k(sparse.compared(output), k)[1]
        x_hat = sparse.decode(act(sparse.take(pre, indices)), indices, w_dec)
    else:
        kept = select.largest(sparse.compared(output), jnp.asarray(k, jnp.int32), axis=1)
        x_hat = jnp.where(kept, act(sparse.all_of(pre)), 0.0) @ w_dec
    return ((batch.target - x_hat - params["b_dec"][None]) ** 2).sum(axis=-1)


def hierarchical_topk(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    k: int = 32,
) -> Float[Array, " batch"]:
    """Returns the mean over j, from 1 to k, of the squared error from the j largest codes alone.

    `1/k sum_j ||target - b_dec - sum_{i in top j} f_i d_i||^2`, summed over d (HierarchicalTopK,
    arXiv 2505.24473). Use it in the place of `mse_sum`, with a TopK that keeps k.

    Args:
      params: `w_dec` and `b_dec` are read.
      batch: the target is read.
      output: its codes are read.
      context: not read.
      k: the largest budget; at most as many as there are codes.
    """
    del context
    w_dec = geometry.decoder_rows(params, output)
    values, indices = _largest(output, k)
    return sparse.prefix_error(batch.target - params["b_dec"][None], values, indices, w_dec)


def _largest(output: types.Output, k: int) -> tuple[Float[Array, "batch k"], Int[Array, "batch k"]]:
    """Returns the k largest codes of each example, falling, and which latents they are."""
    codes = output.codes
    numbers = compared = sparse.values(codes)
    if "compared" in output.extras:
        compared = numbers * sparse.of_latents(codes, output.extras["compared"])
    known = isinstance(codes, types.Codes)
    places = sharded.top_k(compared, min(k, numbers.shape[1]), whole_rows=known)[1]
    values = jnp.take_along_axis(numbers, places, axis=1)
    if isinstance(codes, types.Codes):
        places = jnp.take_along_axis(codes.indices, places, axis=1)
    return values, places
