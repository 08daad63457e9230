"""Active units: how many latents tell examples apart.

A unit is active if the mean of its posterior varies over the split: `Var_x E[z_j | x] > 0.01`
(Burda et al. 2015, arXiv:1509.00519, section 5.1). Codes must be those means, as the codes of `vae`
are. A variational autoencoder turns off what does not pay for its KL.
"""

from typing import Any

import jax
from jaxtyping import Array, Float
import numpy as np

from sae_jax import types

LEAST = 0.01
MEANING = {"active_units": f"latents whose code varies by more than {LEAST} over the split"}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, codes and their squares."""
    del reference
    codes = output.codes * types.mask(batch)[:, None]
    return {
        "n": types.mask(batch).sum(),
        "codes": codes.sum(axis=0),
        "codes2": (codes**2).sum(axis=0),
    }


def variance(totals: dict[str, Any]) -> np.ndarray:
    """Returns how much each code varies over the split, float64 `[d_sae]`."""
    mean = totals["codes"] / totals["n"]
    return np.asarray(np.maximum(totals["codes2"] / totals["n"] - mean**2, 0.0))


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `active_units`, a number of latents."""
    return {"active_units": float((variance(totals) > LEAST).sum())}
