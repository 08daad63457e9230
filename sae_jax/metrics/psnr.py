"""Peak signal-to-noise ratio in decibels, for data whose peak is 1: `10 log10(1 / mse)`.

`mse` is the mean over all numbers of all examples, so it is the ratio of the mean error. (The mean
of each picture's own decibels, which other papers print, is larger, and infinite as soon as one
picture is met exactly: one whose missing patch was blank.) Where a model's input is not its target,
also the ratio of the input, and what the reconstruction gains on it.
"""

from typing import Any

import jax
from jaxtyping import Array, Float
import numpy as np

from sae_jax import types

MEANING = {
    "psnr": "peak signal-to-noise ratio of the reconstruction, dB",
    "psnr_input": "the same of what the model saw, dB",
    "psnr_gain": "the first less the second, dB",
}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, and mean squared errors of output and input."""
    del reference
    mask = types.mask(batch)

    def error(x: jax.Array) -> jax.Array:
        return (((x - batch.target) ** 2).mean(axis=-1) * mask).sum()

    found = {"n": mask.sum(), "output": error(output.x_hat)}
    if batch.y is not None and batch.y.shape == batch.x.shape:
        found["input"] = error(batch.x)
    return found


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `psnr`, and `psnr_input` and `psnr_gain` where the input is not the target."""
    after = decibels(totals["output"] / totals["n"])
    if not totals.get("input"):
        return {"psnr": after}
    before = decibels(totals["input"] / totals["n"])
    return {"psnr": after, "psnr_input": before, "psnr_gain": after - before}


def decibels(mse: float) -> float:
    """Returns the ratio for a mean squared error; infinite for none."""
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(mse))
