"""Perplexity of a codebook: `exp(-sum_j p_j log p_j)`, p_j being how often entry j is used.

Over the whole split. It is the number of entries if all are used alike, 1 if a single one is. Codes
must be shares or counts, as those of `vq` are.
"""

from typing import Any

import jax
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types

MEANING = {"perplexity": "entries of the codebook in use, in effect: exp of the entropy"}


def sums(
    batch: types.Batch, output: types.Output, reference: Float[Array, "*shape"]
) -> dict[str, jax.Array]:
    """Returns what one batch adds: the codes over all examples."""
    del reference
    return {"used": (output.codes * types.mask(batch)[:, None]).sum(axis=0)}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `perplexity`."""
    used = np.asarray(totals["used"], np.float64)
    if used.min() < 0:
        raise errors.UserError(
            "perplexity needs codes that are never negative: take it out of config.evals"
        )
    share = used[used > 0] / used.sum()
    return {"perplexity": float(np.exp(-(share * np.log(share)).sum()))}
