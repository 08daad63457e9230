"""Reconstruction from the first latents alone, for several numbers of them at once.

  x_hat^(m) = b_dec + sum_{i < m} f_i d_i

A latent that is needed by small dictionaries must mean something general, and finds no gain in
leaving its part to later, more special ones (Bussmann et al. 2025, arXiv 2503.17547; Nabeshima
2024). All prefixes together cost one decode: each adds its latents to the one before.
"""

from collections.abc import Sequence
from typing import Literal

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import geometry, sparse


def matryoshka(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    prefixes: Sequence[int | float] = (0.25, 0.5, 1.0),
    weights: Sequence[int | float] = (),
    total: Literal["mean", "sum"] = "mean",
    detach: bool = False,
) -> Float[Array, " batch"]:
    """Returns the errors of all prefixes, each `||target - x_hat^(m)||^2` summed over d.

    Use it in the place of `mse_sum`: the last prefix is the whole dictionary.

    Args:
      params: `w_dec` and `b_dec` are read.
      batch: the target is read.
      output: its codes are read.
      context: not read.
      prefixes: growing numbers of latents, or shares of the dictionary (1.0 is all of it).
      weights: of each prefix; empty: 1 for each.
      total: whether the weighted errors are added, or divided by the sum of the weights too.
      detach: whether an error moves only the latents that its own prefix adds.
    """
    del context
    w_dec = geometry.decoder_rows(params, output)
    ends = _ends(prefixes, w_dec.shape[0])
    scale = jnp.asarray(_weights(weights, ends), jnp.float32)
    x_hat = jnp.broadcast_to(params["b_dec"][None], batch.target.shape)
    error = jnp.zeros(batch.size)
    start = 0
    for weight, end in zip(scale, ends, strict=True):
        x_hat = lax.stop_gradient(x_hat) if detach and start else x_hat
        x_hat = x_hat + _part(output.codes, w_dec, start, end)
        error += weight * ((batch.target - x_hat) ** 2).sum(axis=-1)
        start = end
    return error if total == "sum" else error / scale.sum()


def _part(codes: Array | types.Codes, w_dec: Array, start: int, end: int) -> Array:
    """Returns `sum_{start <= i < end} f_i d_i`, `[batch, d]`."""
    if not isinstance(codes, types.Codes):
        return codes[:, start:end] @ w_dec[start:end]
    inside = (codes.indices >= start) & (codes.indices < end)
    return sparse.decode(jnp.where(inside, codes.values, 0.0), codes.indices, w_dec)


def _ends(prefixes: Sequence[int | float], d_sae: int) -> list[int]:
    """Returns where prefixes end; raises for those that do not grow up to the whole dictionary."""
    ends = [round(end * d_sae) if isinstance(end, float) else end for end in prefixes]
    if not ends or ends[-1] != d_sae or ends[0] < 1 or sorted(set(ends)) != ends:
        raise errors.UserError(
            f"config.loss.matryoshka: prefixes={tuple(prefixes)} are {ends} of {d_sae} latents: "
            "they must grow, from 1 latent at least to all of them"
        )
    return ends


def _weights(weights: Sequence[int | float], ends: list[int]) -> list[float]:
    if weights and len(weights) != len(ends):
        raise errors.UserError(
            f"config.loss.matryoshka: {len(weights)} weights for {len(ends)} prefixes"
        )
    return list(weights) or [1.0] * len(ends)
