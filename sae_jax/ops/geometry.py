"""Directions and norms of dictionaries."""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import rounding

_TINY = 1e-8  # A row of zeros has no direction; it stays finite instead of becoming 0/0.
_REMEDY = "set another config.model.name, or leave it out"


def norms(rows: Float[Array, "d_sae d_in"]) -> Float[Array, "d_sae 1"]:
    """Returns the Euclidean norm of each row, at least 1e-8; there its gradient is 0, not 0/0."""
    rows = rounding.widened(rows)
    return jnp.sqrt(jnp.maximum((rows**2).sum(axis=-1, keepdims=True), _TINY**2))


def decoder_norms(params: types.PyTree, output: types.Output) -> Float[Array, " d_sae"]:
    """Returns what one unit of each latent writes: what the model says, or the norms of rows."""
    if "decoder_norms" in output.extras:
        return output.extras["decoder_norms"]
    return norms(latent_rows(params, output))[:, 0]


def decoder_rows(params: types.PyTree, output: types.Output) -> Float[Array, "d_sae d_out"]:
    """Returns the rows that the model decodes with: `w_dec`, or what it makes of it.

    Raises:
      ConfigError: the model has no such rows, or layers behind them.
    """
    rows = latent_rows(params, output)
    if rows.shape[1] != output.x_hat.shape[-1]:
        raise errors.ConfigError(
            f"it decodes with w_dec alone, whose rows have {rows.shape[1]} numbers in this model, "
            f"and reconstructions {output.x_hat.shape[-1]}: {_REMEDY}"
        )
    return rows


def latent_rows(params: types.PyTree, output: types.Output) -> Float[Array, "d_sae width"]:
    """Returns what each latent writes, whether to the output or to a layer before it.

    Raises:
      ConfigError: the model has no `w_dec` with a row for each latent, as `clt`, which keeps those
        of its layers apart, or `mlp` with `tied`.
    """
    rows = output.extras.get("w_dec", params.get("w_dec"))
    if rows is None or rows.ndim != 2 or len(rows) != output.codes.shape[-1]:
        raise errors.ConfigError(
            f"it needs a model with one array w_dec that has a row for each latent: {_REMEDY}"
        )
    return rows


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
