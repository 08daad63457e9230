"""Whether latents are active where the features they stand for are: precision, recall and F1.

Each latent stands for the feature to which its decoder row has the largest |cosine|; several may
stand for one. Over the whole split,

  precision = |both active| / |latent active|,   recall = |both active| / |feature active|
  f1        = 2 |both active| / (|latent active| + |feature active|)

and each is averaged over latents, of which one that is never active counts 0 (SynthSAEBench, arXiv
2602.14687). And of examples, in how many the features that active latents stand for are those that
are active, no more and no fewer: whether the support is recovered, as it is asked of pursuits.
Needs data whose features and codes are known.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import dictionaries

MEANING = {
    "f1": "F1 of a latent's activity and its feature's, mean over latents",
    "precision": "share of a latent's activity in which its feature is active",
    "recall": "share of its feature's activity in which a latent is active",
    "exact_support": "share of examples whose active latents stand for just the active features",
}


def prepare(params: dict[str, Any], data: Any) -> dict[str, Any]:
    """Returns which feature each latent stands for, int32 `[d_sae]`.

    Args:
      params: `w_dec` `[d_sae, d_in]` is read.
      data: its `features` `[n_features, d_in]` are read.
    """
    known = hasattr(data, "features") and data.spec.target_shape is None
    if "w_dec" not in params or not known:
        raise errors.UserError(
            "the metric support needs a model with w_dec and data whose features are known: "
            f"{data.spec.name} is none"
        )
    feature = dictionaries.matched(params["w_dec"], data.features)
    return {"feature": feature.astype(np.int32)}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, " d_in"],
    prepared: dict[str, Any],
) -> dict[str, jax.Array]:
    """Returns in how many examples each latent, its feature, and both are active, `[d_sae]` each.

    And how many examples there are, and of how many the support is recovered.

    Args:
      batch: its `truth` is read.
      output: its codes are read.
      reference: not read.
      prepared: which feature each latent stands for.
    """
    del reference
    assert batch.truth is not None
    here = (types.mask(batch) > 0)[:, None]
    latent = (output.codes != 0) & here
    true = batch.truth != 0
    feature = true[:, prepared["feature"]] & here
    found = jnp.zeros_like(true).at[:, prepared["feature"]].max(latent)
    exact = (found == true).all(axis=1) & here[:, 0]
    return {
        "latent": latent.sum(axis=0, dtype=jnp.float32),
        "feature": feature.sum(axis=0, dtype=jnp.float32),
        "both": (latent & feature).sum(axis=0, dtype=jnp.float32),
        "exact": exact.sum(dtype=jnp.float32),
        "n": here.sum(dtype=jnp.float32),
    }


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `f1`, `precision`, `recall` and `exact_support`, between 0 and 1."""
    both, latent, feature = (totals[name] for name in ("both", "latent", "feature"))
    of = {"f1": (latent + feature) / 2, "precision": latent, "recall": feature}
    found = {
        name: float(np.divide(both, count, out=np.zeros_like(both), where=count > 0).mean())
        for name, count in of.items()
    }
    return found | {"exact_support": float(totals["exact"] / totals["n"])}
