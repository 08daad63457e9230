"""Error of what a model predicts beyond its input, and of the forecast that nothing changes.

The target begins with the input and goes on: a film and its next frames, a series and its next
points. Only what goes on is measured here: the squared error of a number, averaged over all that
are predicted in all examples. `copy_last_mse` is the error of repeating the last step of the input,
the baseline that every forecast has to beat.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types

MEANING = {
    "prediction_mse": "squared error of a predicted number",
    "copy_last_mse": "the same where the last step of the input is repeated",
}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    width: int = 1,
) -> dict[str, jax.Array]:
    """Returns what one batch adds: predicted numbers, squared errors of the model and of a copy.

    Args:
      batch: its target begins with its input.
      output: its reconstruction is read.
      reference: not read.
      width: numbers in a step: channels of a series, pixels of a frame.

    Raises:
      DataError: the target does not go on beyond the input, or not by whole steps.
    """
    del reference
    seen = batch.x.shape[-1]
    future = batch.target[:, seen:]
    if not future.shape[-1] or future.shape[-1] % width or seen % width:
        raise errors.DataError(
            f"prediction: {seen} numbers in and {batch.target.shape[-1]} out leave no whole steps "
            f"of {width} to predict: set the width of the metric, or choose other data"
        )
    mask = types.mask(batch)[:, None]
    copy = jnp.tile(batch.x[:, -width:], (1, future.shape[-1] // width))
    return {
        "n": mask.sum() * future.shape[-1],
        "squared": (((future - output.x_hat[:, seen:]) * mask) ** 2).sum(),
        "copy_squared": (((future - copy) * mask) ** 2).sum(),
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `prediction_mse` and `copy_last_mse`, in squared units of the data."""
    return {
        "prediction_mse": float(totals["squared"] / totals["n"]),
        "copy_last_mse": float(totals["copy_squared"] / totals["n"]),
    }
