"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864).

The number pair j of a head, of d_head / 2, turns by `position frequency_j`, with

  frequency_j = base^(-2j / d_head)

and, in models stretched to longer texts, those changed:

  linear   frequency / factor                                  (Chen et al. 2023, arXiv:2306.15595)
  llama3   with L the length it was trained on first and turns = L frequency / 2 pi:
           frequency / factor where turns < low, frequency where turns > high, and between
           frequency (s + (1 - s) / factor), s = (turns - low) / (high - low)
           (Llama 3.1; Grattafiori et al. 2024, arXiv:2407.21783)

Pairs are the halves of a head, numbers j and j + d_head / 2, as in Hugging Face's files; where a
file has neighbours as pairs (GGUF, glassllm), `halves` reorders its weights once.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from sae_jax import errors


def frequencies(d_head: int, base: float, scaling: Mapping[str, Any] | None = None) -> np.ndarray:
    """Returns float64 `[d_head / 2]`.

    Args:
      d_head: numbers in a head.
      base: of the powers.
      scaling: as `rope_scaling` or `rope_parameters` in a config.json.

    Raises:
      DataError: the scaling is not known, or a number of it is missing or none.
    """
    plain = base ** (-np.arange(0, d_head, 2) / d_head)
    scaling = scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))

    def number(key: str) -> float:
        try:
            return float(scaling[key])
        except KeyError as error:
            raise errors.DataError(f"RoPE scaling {kind!r} does not state {key}") from error
        except (TypeError, ValueError) as error:
            raise errors.DataError(
                f"RoPE scaling {kind!r}: {key}={scaling[key]!r} is no number"
            ) from error

    if kind == "default":
        return plain
    if kind == "linear":
        return plain / number("factor")
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        turns = number("original_max_position_embeddings") * plain / (2 * np.pi)
        share = np.clip((turns - low) / (high - low), 0, 1)
        return plain * (share + (1 - share) / number("factor"))
    raise errors.DataError(f"RoPE scaling {kind!r} is not supported; default, linear, llama3 are")


def angles(
    positions: Int[Array, "batch length"], frequency: Float[Array, " pairs"]
) -> tuple[Float[Array, "batch length pairs"], Float[Array, "batch length pairs"]]:
    """Returns cosine and sine of each token's angles, float32."""
    turned = positions[..., None].astype(jnp.float32) * frequency[None, None]
    return jnp.cos(turned), jnp.sin(turned)


def rotate(
    x: Float[Array, "batch length heads d_head"],
    cos: Float[Array, "batch length pairs"],
    sin: Float[Array, "batch length pairs"],
) -> Float[Array, "batch length heads d_head"]:
    """Returns the heads turned, computed in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Returns a matrix `[heads d_head, d_in]` whose pairs were neighbours, with them as halves."""
    rows, d_in = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, d_in)
    return pairs.swapaxes(1, 2).reshape(rows, d_in)
