"""What the rows of `w_dec` are like: among themselves, and beside the features that made the data.

The formulas stand in `sae_jax/ops/dictionaries.py`; where the data are no world, whose features are
known, only the first numbers are there. Features are compared in the scale of the data.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import dictionaries

MEANING = {
    "c_dec": "mean |cosine| of two decoder rows",
    "composition": "mean largest cosine of a decoder row with another",
    "coherence": "largest |cosine| of two decoder rows",
    "effective_rank": "of decoder directions: exp of the entropy of their singular values",
    "asymmetry": "1 - cosine of encoder and decoder direction, mean over latents",
    "mcc": "mean |cosine| of latents and features, matched one to one",
    "mmcs": "mean, over features, of the largest cosine with a latent",
    "mmcs_of_latents": "mean, over latents, of the largest cosine with a feature",
    "uniqueness": "features that are nearest to some latent, by latents",
    "recovered": "share of features to which a latent has a cosine above 0.8",
}


def prepare(params: dict[str, Any], data: Any) -> dict[str, Any]:
    """Returns the numbers, by name.

    Args:
      params: `w_dec` `[d_sae, d_in]`, and `w_enc` `[d_in, d_sae]` if there is one.
      data: its `features` `[n_features, d_in]` are read, if it has them and they make its targets.
    """
    w_dec = params.get("w_dec")
    if w_dec is None or w_dec.shape[-1] != data.spec.d_out:
        raise errors.UserError(
            f"the metric dictionary reads rows of {data.spec.d_out} numbers in w_dec: this model "
            "has none"
        )
    found = {
        "c_dec": dictionaries.c_dec(w_dec),
        "composition": dictionaries.composition_rate(w_dec),
        "coherence": dictionaries.coherence(w_dec),
        "effective_rank": dictionaries.effective_rank(w_dec),
    }
    if "w_enc" in params and params["w_enc"].shape == w_dec.T.shape:
        found["asymmetry"] = float(dictionaries.asymmetry(params["w_enc"], w_dec).mean())
    features = getattr(data, "features", None)
    if features is not None and data.spec.target_shape is None:
        found |= {
            "mcc": dictionaries.mcc(w_dec, features),
            "mmcs": dictionaries.mmcs(w_dec, features),
            "mmcs_of_latents": dictionaries.mmcs(features, w_dec),
            "uniqueness": dictionaries.uniqueness(w_dec, features),
            "recovered": dictionaries.recovered(w_dec, features),
        }
    return {name: np.float32(value) for name, value in found.items()}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, " d_in"],
    prepared: dict[str, Any],
) -> dict[str, jax.Array]:
    """Returns the numbers once for each batch, and how many batches they are of.

    Args:
      batch: not read.
      output: not read.
      reference: not read.
      prepared: the numbers.
    """
    del batch, output, reference
    return {"batches": jnp.ones(()), **prepared}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns the numbers."""
    return {
        name: float(total / totals["batches"])
        for name, total in totals.items()
        if name != "batches"
    }
