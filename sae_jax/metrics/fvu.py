"""Fraction of variance unexplained: 0 is a perfect reconstruction, 1 is as good as the mean.

  fvu = sum ||x - x_hat||^2 / sum ||x - mean(x)||^2

with both sums and the mean over the *whole* split, never a mean of per-batch or per-example ratios.
Explained variance is `1 - fvu`.
"""

from typing import Any

import jax
from jaxtyping import Array, Float
import numpy as np

from sae_jax import types

MEANING = {"fvu": "fraction of variance unexplained"}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, " d_in"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds.

    Squares are taken about `reference`, a fixed point near the mean, so that the total variance
    does not come out as the small difference of two large numbers.
    """
    mask = types.mask(batch)[:, None]
    offset = (batch.target - reference[None]) * mask
    return {
        "n": mask.sum(),
        "offset": offset.sum(axis=0),
        "offset2": (offset**2).sum(),
        "residual2": (((batch.target - output.x_hat) * mask) ** 2).sum(),
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `fvu`; infinite where the data do not vary and the reconstruction is not exact."""
    variance = totals["offset2"] - (totals["offset"] ** 2).sum() / totals["n"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"fvu": float(np.float64(totals["residual2"]) / np.maximum(variance, 0.0))}
