"""Terms that look at the parameters alone; the same number for every example of a batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import geometry, rounding


def weight_decay(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `1/2 sum w^2` over all matrices; biases are left out (Ng 2011, CS294A notes)."""
    del output, context
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim >= 2]
    total = sum(0.5 * jnp.sum(rounding.widened(matrix) ** 2) for matrix in matrices)
    return jnp.broadcast_to(total, (batch.size,))


def orthogonality(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    chunks: int = 1,
) -> Float[Array, " batch"]:
    """Returns the mean over latents of the squared largest cosine with another decoder row.

    Taken inside of chunks of the dictionary, drawn anew at each step, which together cost
    `d_sae^2 d_in / chunks` (OrtSAE, arXiv 2509.22033). Opposite rows are no burden: a cosine below
    0 counts as 0.

    Args:
      params: `w_dec` is read.
      batch: for its size.
      output: its extra "w_dec" is read, if it is there.
      context: its key draws the chunks.
      chunks: of equal size, up to what does not fill them; 1 compares all with all.
    """
    w_dec = geometry.latent_rows(params, output)
    size = w_dec.shape[0] // chunks
    if size < 2:
        raise errors.ConfigError(
            f"chunks={chunks} of {w_dec.shape[0]} latents hold no two: set fewer"
        )
    chosen = jax.random.permutation(jax.random.fold_in(context.key, 2), w_dec.shape[0])
    rows = geometry.unit_rows(w_dec)[chosen[: chunks * size]].reshape(chunks, size, -1)
    cosines = jnp.einsum("cid,cjd->cij", rows, rows)
    others = jnp.where(jnp.eye(size, dtype=bool)[None], 0.0, jnp.maximum(cosines, 0.0))
    return jnp.broadcast_to((others.max(axis=-1) ** 2).mean(), (batch.size,))
