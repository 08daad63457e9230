"""Large projections on decoder rows that should be none: s_n^dec, which is least near the true L0.

Of all `<x - b_dec, d_i>` of B examples and d_sae latents, the (n B)-th largest, in units of the
model's input (Chanin & Garriga-Alonso 2025, arXiv 2508.16560). With the right dictionary an example
has large projections on the latents that are active and on no others; rows that mix features have
some on many. So n is to be about the largest L0 that might be right, and no feature need be known;
where n is so large that projections are negative, it tells nothing. Projections are rounded to
bfloat16 and counted: exactly the same however a split is cut.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import ml_dtypes
import numpy as np

from sae_jax import errors, types

MEANING = {"s_n_dec": "the (n x examples)-th largest projection on a decoder row"}
_SIGN = 1 << 15


def prepare(params: dict[str, Any], data: Any) -> dict[str, Any]:
    """Returns `w_dec` and `b_dec`.

    Args:
      params: `w_dec` `[d_sae, d_in]` and `b_dec` `[d_in]` are read.
      data: its shapes are read.
    """
    w_dec, d_in = params.get("w_dec"), data.spec.d_in
    if w_dec is None or "b_dec" not in params or w_dec.shape[-1] != d_in or data.spec.target_shape:
        raise errors.UserError(
            f"the metric s_n_dec projects examples of {d_in} numbers on w_dec: this model does not "
            "reconstruct them by one"
        )
    return {name: np.asarray(params[name], np.float32) for name in ("w_dec", "b_dec")}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, " d_in"],
    *,
    model: types.Bound,
    prepared: dict[str, Any],
    n: int = 0,
) -> dict[str, jax.Array]:
    """Returns how often each number of bfloat16 is a projection, in rising order, and the rank.

    Args:
      batch: its input is read.
      output: not read.
      reference: not read.
      model: its scale is that of the decoder.
      prepared: the decoder.
      n: how many projections an example may have in the mean before one counts; 0: d_sae / 3.
    """
    del output, reference
    w_dec, b_dec = prepared["w_dec"], prepared["b_dec"]
    mask = types.mask(batch)
    found = (model.enter(batch.x) - b_dec[None]) @ w_dec.T
    bits = lax.bitcast_convert_type(found.astype(jnp.bfloat16), jnp.uint16).astype(jnp.int32)
    place = jnp.where(bits < _SIGN, bits + _SIGN, 2 * _SIGN - 1 - bits)
    weights = jnp.broadcast_to(mask[:, None], found.shape).astype(jnp.int32)
    counts = jnp.zeros(2 * _SIGN, jnp.int32).at[place].add(weights)
    return {"counts": counts, "rank": mask.sum() * (n or len(w_dec) // 3 or 1)}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `s_n_dec`."""
    at_least = np.cumsum(totals["counts"][::-1])
    place = 2 * _SIGN - 1 - int(np.searchsorted(at_least, totals["rank"]))
    bits = place - _SIGN if place >= _SIGN else 2 * _SIGN - 1 - place
    return {"s_n_dec": float(np.asarray(bits, np.uint16).view(ml_dtypes.bfloat16))}
