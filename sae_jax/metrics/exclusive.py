"""Which latents belong to one site alone, and whether that is true: model diffing with crosscoders.

  share_i^s = ||d_i^s|| / sum_s ||d_i^s||        of the norms of latent i's decoder row at each site

A latent is exclusive to a site with a share above 0.9 there, and shared if no site has less than
0.8 / sites: between 0.4 and 0.6 for two (the bands of Minder et al. 2025, arXiv 2504.02922, who
take the difference over the larger norm). Latents that are active in no example do not count.

Where features are known, the same is said of them. A latent stands for the feature to which its
whole row has the largest |cosine|; it is spurious if it is exclusive and that feature is not, or is
so to another site. An exclusive feature is found if some latent exclusive to its site has a cosine
above 0.8 with it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import dictionaries

MEANING = {
    "exclusive": "share of active latents that are exclusive to a site",
    "shared": "share of active latents that no site has much less of than another",
    "spurious": "share of exclusive latents whose feature is not exclusive",
    "exclusive_found": "share of exclusive features with a latent exclusive to their site",
}
EXCLUSIVE = 0.9
_SHARED, _FOUND = 0.8, 0.8


def shares(rows: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Returns what part each site has in a row's summed norms, float64 `[n, sites]`; NaN of zeros.

    Args:
      rows: `[n, sites * d]`.
      grid: `(sites, d)`.
    """
    norms = np.linalg.norm(np.asarray(rows, np.float64).reshape(-1, *grid), axis=2)
    total = norms.sum(axis=1, keepdims=True)
    return np.divide(norms, total, out=np.full_like(norms, np.nan), where=total > 0)


def prepare(params: dict[str, Any], data: Any) -> dict[str, Any]:
    """Returns what is known of each latent, `[d_sae]`, and of each exclusive feature.

    Args:
      params: `w_dec` `[d_sae, sites * d]` is read.
      data: the grid of its spec, `(sites, d)`, and its `features`, if it has them, are read.
    """
    w_dec, grid = params.get("w_dec"), data.spec.grid
    if w_dec is None or grid is None or len(grid) != 2 or w_dec.shape[1] != np.prod(grid):
        raise errors.UserError(
            f"the metric exclusive needs examples of several sites and rows of {data.spec.d_in} "
            "numbers in w_dec: use a crosscoder"
        )
    site = _site(w_dec, grid)
    least = shares(w_dec, grid).min(axis=1)
    found = {"exclusive": site >= 0, "shared": least * grid[0] >= _SHARED}
    features = getattr(data, "features", None)
    if features is not None:
        cosines = dictionaries.cosines(w_dec, features)
        of_feature = _site(features, grid)
        true = of_feature[np.abs(cosines).argmax(axis=1)] == site
        hit = (cosines > _FOUND) & (site[:, None] == of_feature[None])
        found |= {"spurious": (site >= 0) & ~true, "hit": hit[:, of_feature >= 0]}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, " d_in"],
    prepared: dict[str, Any],
) -> dict[str, jax.Array]:
    """Returns in how many examples each latent is active, and what is known of it once a batch.

    Args:
      batch: its mask is read.
      output: its codes are read.
      reference: not read.
      prepared: what is known of each latent.
    """
    del reference
    active = (output.codes != 0) & (types.mask(batch) > 0)[:, None]
    once = {"batches": jnp.ones(()), **prepared}
    return {"active": active.sum(axis=0, dtype=jnp.float32), **once}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns the shares, between 0 and 1; 0 of nothing."""
    alive = totals["active"] > 0
    known = {
        name: (totals[name] / totals["batches"])[alive]
        for name in ("exclusive", "shared", "spurious", "hit")
        if name in totals
    }
    found = {name: _mean(known[name]) for name in ("exclusive", "shared")}
    if "hit" in known:
        count = known["exclusive"].sum()
        found["spurious"] = float(known["spurious"].sum() / max(count, 1))
        found["exclusive_found"] = _mean(known["hit"].max(axis=0, initial=0))
    return found


def _site(rows: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Returns to which site a row is exclusive, int64 `[n]`; -1: to none."""
    share = np.nan_to_num(shares(rows, grid))
    return np.where(share.max(axis=1) > EXCLUSIVE, share.argmax(axis=1), -1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
