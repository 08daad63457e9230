"""How often each latent is active: the share of dead latents, and of dense ones.

Dead: active for no example of the split. Dense: active for more than a tenth of them; frequent: for
more than a hundredth, which SAEBench counts as well.
"""

from typing import Any

import jax
from jaxtyping import Array, Float
import numpy as np

from sae_jax import types

DENSE, FREQUENT = 0.1, 0.01
MEANING = {
    "dead": "share of latents that are active for no example",
    "dense": "share of latents that are active for over a tenth of the examples",
    "frequent": "share of latents that are active for over a hundredth of the examples",
}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, and for each latent how many activate it."""
    del reference
    mask = types.mask(batch)
    return {"n": mask.sum(), "active": ((output.codes != 0) * mask[:, None]).sum(axis=0)}


def density(totals: dict[str, Any]) -> np.ndarray:
    """Returns the share of examples that activate each latent, float64 `[d_sae]`."""
    return np.asarray(totals["active"] / totals["n"])


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `dead`, `dense` and `frequent`, shares of the latents."""
    share = density(totals)
    chosen = {"dead": share == 0, "dense": share > DENSE, "frequent": share > FREQUENT}
    return {name: float(which.mean()) for name, which in chosen.items()}
