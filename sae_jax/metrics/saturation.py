"""How many sigmoids are saturated: the share of codes below 0.05 or above 0.95.

Over all examples and latents (Rifai et al. 2011, "Contractive Auto-Encoders", Table 1: the mean
over examples of the share of their latents). For codes between 0 and 1; a code that is 0 for most
examples, as that of a ReLU, counts as saturated too.
"""

from typing import Any

import jax
from jaxtyping import Array, Float

from sae_jax import types

LOW, HIGH = 0.05, 0.95

MEANING = {"saturated": "share of activations near 0 or 1"}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, and the share of saturated latents of each."""
    del reference
    mask = types.mask(batch)
    saturated = (output.codes < LOW) | (output.codes > HIGH)
    return {"n": mask.sum(), "saturated": (saturated.mean(axis=-1) * mask).sum()}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `saturated`, a share of the latents."""
    return {"saturated": float(totals["saturated"] / totals["n"])}
