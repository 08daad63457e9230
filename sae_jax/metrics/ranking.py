"""How high a user's held-out items rank among those that the user is not known to have.

As Liang et al. 2018 ("Variational autoencoders for collaborative filtering") count. Items of the
input are left out of the ranking. With R items at the places in the ranking that hold out a user's
`n` held-out items:

  recall@k = |held out, among the first k| / min(k, n)
  NDCG@k   = sum_{places r <= k of held-out items} 1 / log2(r + 1)  /  sum_{r <= min(k, n)} of same

Means over users; a user without held-out items is left out. Among equal scores the item of the
lower number comes first.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types

MEANING = {
    "recall_at_*": "held-out items among the first k, of at most k",
    "ndcg_at_*": "discounted gain of held-out items among the first k, best 1",
}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    recall: Sequence[int] = (20, 50),
    ndcg: Sequence[int] = (100,),
) -> dict[str, jax.Array]:
    """Returns what one batch adds: users, and their recalls and NDCGs.

    Args:
      batch: `x` is what is known, 0 where nothing is; the target what is held out, 0 for the rest.
      output: scores are its logits, if there are any, or the reconstruction.
      reference: not read.
      recall: each k of a recall@k.
      ndcg: each k of an NDCG@k.
    """
    del reference
    scores = output.extras.get("logits", output.x_hat)
    seen = batch.x != 0
    held_out = (batch.target != 0) & ~seen
    count = held_out.sum(axis=-1)
    users = types.mask(batch) * (count > 0)
    longest = min(max([*recall, *ndcg], default=1), scores.shape[-1])
    _, best = jax.lax.top_k(jnp.where(seen, -jnp.inf, scores), longest)
    hits = jnp.take_along_axis(held_out, best, axis=-1)
    found = {"n": users.sum()}
    for k in recall:
        share = hits[:, :k].sum(axis=-1) / jnp.clip(count, 1, k)
        found[f"recall_at_{k}"] = (share * users).sum()
    gains = 1 / jnp.log2(jnp.arange(longest) + 2)
    at_best = jnp.cumsum(gains)
    for k in ndcg:
        gained = (hits[:, :k] * gains[None, :k]).sum(axis=-1)
        share = gained / at_best[jnp.clip(count, 1, min(k, longest)) - 1]
        found[f"ndcg_at_{k}"] = (share * users).sum()
    return found


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns each `recall_at_<k>` and `ndcg_at_<k>`.

    Raises:
      DataError: no user of the split has held-out items.
    """
    if not totals["n"]:
        raise errors.DataError("ranking: no user of the split has held-out items: choose another")
    return {name: float(total / totals["n"]) for name, total in totals.items() if name != "n"}
