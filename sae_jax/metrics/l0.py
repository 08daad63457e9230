"""L0: how many latents are active in an example, on average. Active means `code != 0`."""

from typing import Any

import jax
from jaxtyping import Array, Float

from sae_jax import types

MEANING = {"l0": "active latents of an example"}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, and active latents over all of them."""
    del reference
    mask = types.mask(batch)
    return {"n": mask.sum(), "active": ((output.codes != 0).sum(axis=-1) * mask).sum()}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `l0`."""
    return {"l0": float(totals["active"] / totals["n"])}
