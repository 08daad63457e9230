"""Error of predicted ratings, in stars, over the ratings that are to be predicted.

A target of 0 says that there is nothing to predict. Root mean squared and mean absolute error, each
over all ratings of the split at once: a user with many ratings counts more than one with few.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types

MEANING = {
    "rmse": "root mean squared error of predicted ratings, in stars",
    "mae": "mean absolute error of predicted ratings, in stars",
}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    low: float = 1.0,
    high: float = 5.0,
) -> dict[str, jax.Array]:
    """Returns what one batch adds: ratings, their squared and their absolute errors.

    Args:
      batch: its target is read.
      output: its reconstruction is read.
      reference: not read.
      low: lowest rating; a prediction below it is taken for it.
      high: highest rating; a prediction above it is taken for it.
    """
    del reference
    known = (batch.target != 0) * types.mask(batch)[:, None]
    error = (batch.target - jnp.clip(output.x_hat, low, high)) * known
    return {"n": known.sum(), "squared": (error**2).sum(), "absolute": jnp.abs(error).sum()}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `rmse` and `mae`.

    Raises:
      DataError: the split asks for no rating.
    """
    if not totals["n"]:
        raise errors.DataError("rating_error: the split has no rating to predict: choose another")
    return {
        "rmse": float((totals["squared"] / totals["n"]) ** 0.5),
        "mae": float(totals["absolute"] / totals["n"]),
    }
