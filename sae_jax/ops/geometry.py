"""Directions and norms of dictionaries."""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types

_TINY = 1e-8  # A row of zeros has no direction; it stays finite instead of becoming 0/0.


def norms(rows: Float[Array, "d_sae d_in"]) -> Float[Array, "d_sae 1"]:
    """Returns the Euclidean norm of each row, at least 1e-8; there its gradient is 0, not 0/0."""
    rows = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
    return jnp.sqrt(jnp.maximum((rows**2).sum(axis=-1, keepdims=True), _TINY**2))


def decoder_norms(params: types.PyTree, output: types.Output) -> Float[Array, " d_sae"]:
    """Returns what one unit of each latent writes: what the model says, or the norms of rows."""
    if "decoder_norms" in output.extras:
        return output.extras["decoder_norms"]
    return norms(decoder_rows(params, output))[:, 0]


def decoder_rows(params: types.PyTree, output: types.Output) -> Float[Array, "d_sae d_out"]:
    """Returns the rows that the model decodes with: `w_dec`, or what it makes of it."""
    return output.extras["w_dec"] if "w_dec" in output.extras else params["w_dec"]


def unit_rows(rows: Float[Array, "d_sae d_in"]) -> Float[Array, "d_sae d_in"]:
    """Returns the rows scaled to norm 1."""
    return rows / norms(rows)


def median(x: Float[Array, "batch d_in"], steps: int = 100) -> Float[Array, " d_in"]:
    """Returns the geometric median: the point whose distances to all rows have the least sum.

    Found by Weiszfeld's iteration, m <- sum_i x_i / ||x_i - m|| / sum_i 1 / ||x_i - m||, from the
    mean on. A few rows that are far from all others hardly move it.
    """

    def nearer(_: Array, point: Array) -> Array:
        weights = 1 / norms(x - point[None])
        return (weights * x).sum(axis=0) / weights.sum()

    return lax.fori_loop(0, steps, nearer, x.mean(axis=0))


def without_parallel(
    moves: Float[Array, "d_sae d_in"], rows: Float[Array, "d_sae d_in"]
) -> Float[Array, "d_sae d_in"]:
    """Returns what is left of each move when its part along the row is taken out."""
    directions = unit_rows(rows)
    return moves - (moves * directions).sum(axis=-1, keepdims=True) * directions
