"""Other papers' measures of a reconstruction, each under a name of its own: no two are the same.

  cosine           mean of <x, x_hat> / (||x|| ||x_hat||)
  norm_ratio       mean of ||x_hat|| / ||x||
  gain             sum ||x_hat||^2 / sum <x, x_hat>
  nmse             mean of ||x - x_hat||^2 / ||x||^2
  fvu_centred      sum_j Var(x - x_hat)_j / sum_j Var(x)_j
  fvu_per_example  mean of ||x - x_hat||^2 / ||x - mean||^2

Means are over examples. `gain` is below 1 where codes are shrunk (Rajamanoharan et al. 2024, arXiv
2404.16014, eq. 10). `nmse` is what OpenAI's sparse_autoencoder quotes, `fvu_centred` is 1 minus the
explained variance of dictionary_learning, in which a constant error is free, `fvu_per_example` that
of SAELens before 6.5, about the mean of a batch: here of the split's first 4,096 examples. Compare
new work by `fvu`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import types

MEANING = {
    "cosine": "cosine of example and reconstruction, mean over examples",
    "norm_ratio": "norm of the reconstruction by that of the example, mean over examples",
    "gain": "mean square of reconstructions by their product with examples; below 1: shrunk",
    "nmse": "squared error by squared norm, mean over examples",
    "fvu_centred": "variance of the error by that of the data: a constant error is free",
    "fvu_per_example": "squared error by squared distance from the mean, mean over examples",
}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, " d_in"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds; an example of norm 0 adds 0 to a mean of ratios."""
    mask = types.mask(batch)
    x, x_hat = batch.target * mask[:, None], output.x_hat * mask[:, None]
    offset = (batch.target - reference[None]) * mask[:, None]
    norm, norm_hat = (jnp.linalg.norm(rows, axis=-1) for rows in (x, x_hat))
    product, error2 = (x * x_hat).sum(axis=-1), ((x - x_hat) ** 2).sum(axis=-1)
    return {
        "n": mask.sum(),
        "cosine": _ratio(product, norm * norm_hat).sum(),
        "norm_ratio": _ratio(norm_hat, norm).sum(),
        "nmse": _ratio(error2, norm**2).sum(),
        "fvu_per_example": _ratio(error2, (offset**2).sum(axis=-1)).sum(),
        "made2": (x_hat**2).sum(),
        "product": product.sum(),
        "error": (x - x_hat).sum(axis=0),
        "error2": error2.sum(),
        "offset": offset.sum(axis=0),
        "offset2": (offset**2).sum(),
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns the numbers; nan or infinite where the data do not vary."""
    n = totals["n"]
    means = ("cosine", "norm_ratio", "nmse", "fvu_per_example")
    found = {name: float(totals[name] / n) for name in means}
    error, variance = (totals[f"{of}2"] - (totals[of] ** 2).sum() / n for of in ("error", "offset"))
    with np.errstate(divide="ignore", invalid="ignore"):
        found["gain"] = float(np.float64(totals["made2"]) / totals["product"])
        found["fvu_centred"] = float(np.float64(error) / variance)
    return found


def _ratio(above: Array, below: Array) -> Array:
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 0.0)
