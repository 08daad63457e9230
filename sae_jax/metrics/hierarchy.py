"""Whether a latent that stands for a parent is active where one of its children is: absorption.

The latent of a parent is the one whose decoder row has the largest |cosine| with it. Over the whole
split, and averaged over children,

  parent_recall        |parent's latent and child active| / |child active|
  parent_recall_alone  |parent's latent active, parent active without children| / |that|

and the second averaged over parents. Where latents of children have absorbed their parent's
direction, the first falls below the second (Chanin et al. 2024, arXiv 2409.14507). A child or a
parent that is never active counts 0. Needs data whose features, codes and parents are known.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import dictionaries

MEANING = {
    "parent_recall": "share of a child's activity in which its parent's latent is active",
    "parent_recall_alone": "share of a parent's activity without children in which its latent is",
}


def prepare(params: dict[str, Any], data: Any) -> dict[str, Any]:
    """Returns children, their parents, and all parents with their latents, int32 arrays.

    Args:
      params: `w_dec` `[d_sae, d_in]` is read.
      data: its `features` `[n_features, d_in]` and `parents` `[n_features]` are read.
    """
    parents = getattr(data, "parents", None)
    if "w_dec" not in params or parents is None:
        raise errors.UserError(
            f"the metric hierarchy needs a model with w_dec and data whose features have parents: "
            f"{data.spec.name} has none"
        )
    child = np.flatnonzero(parents >= 0)
    parent, place = np.unique(parents[child], return_inverse=True)
    latent = dictionaries.matched(data.features[parent], params["w_dec"])
    found = {"child": child, "place": place, "parent": parent, "latent": latent}
    return {name: array.astype(np.int32) for name, array in found.items()}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, " d_in"],
    prepared: dict[str, Any],
) -> dict[str, jax.Array]:
    """Returns in how many examples children, and parents without them, are active and recalled.

    Args:
      batch: its `truth` is read.
      output: its codes are read.
      reference: not read.
      prepared: children, and parents with their latents.
    """
    del reference
    assert batch.truth is not None
    here = (types.mask(batch) > 0)[:, None]
    on = (batch.truth != 0) & here
    child, place = on[:, prepared["child"]], prepared["place"]
    latent = output.codes[:, prepared["latent"]] != 0
    with_child = jnp.zeros(latent.shape, bool).at[:, place].max(child)
    alone = on[:, prepared["parent"]] & ~with_child
    return {
        name: array.sum(axis=0, dtype=jnp.float32)
        for name, array in (
            ("child", child),
            ("child_recalled", child & latent[:, place]),
            ("alone", alone),
            ("alone_recalled", alone & latent),
        )
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `parent_recall` and `parent_recall_alone`, between 0 and 1."""
    found = {}
    for name, of in (("parent_recall", "child"), ("parent_recall_alone", "alone")):
        both, count = totals[f"{of}_recalled"], totals[of]
        shares = np.divide(both, count, out=np.zeros_like(both), where=count > 0)
        found[name] = float(shares.mean())
    return found
