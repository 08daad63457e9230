"""A keyed permutation of 0..n-1 that costs nothing to start: no table, no state, any place at once.

A balanced Feistel network over the smallest even number of bits that holds n, with cycle walking
(Black & Rogaway 2002, "Ciphers with arbitrary finite domains"): a value that falls outside 0..n-1
is encrypted again until it falls inside. The domain is below 4 n, so a value walks less than four
times on average. The round function is `sae_jax/ops/murmur.py`.

All arithmetic is in uint32, where NumPy and JAX agree bit for bit, so a data set kept on the device
and one read on the host give the same batches.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.ops import murmur, per_member

_ROUNDS = 6


def round_keys(seed: int | per_member.PerMember, epoch: Any) -> Any:
    """Returns the uint32 `[rounds]` keys of one permutation.

    Args:
      seed: any integer below 2**32.
      epoch: NumPy or JAX integer `[]`; another epoch is another permutation.
    """
    xp: Any = jnp if isinstance(epoch, jax.Array) else np
    with np.errstate(over="ignore"):
        word = murmur.mix(xp.asarray(epoch).astype(xp.uint32) + murmur.mix(xp.uint32(seed)))
        return murmur.mix(word + xp.arange(1, _ROUNDS + 1, dtype=xp.uint32) * xp.uint32(0x9E3779B9))


def at(keys: Any, index: Any, n: int) -> Any:
    """Returns where `index` goes under the permutation of `0..n-1` that `keys` picks.

    Args:
      keys: uint32 `[rounds]`, from `round_keys`.
      index: uint32 `[...]`, NumPy or JAX, each below n.
      n: how many there are, below 2**31.

    Returns:
      uint32 `[...]`, distinct for distinct indices.
    """
    if not 0 < n < 2**31:
        raise ValueError(f"cannot permute {n} things: from 1 to 2**31 - 1")
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    if isinstance(index, np.ndarray):
        with np.errstate(over="ignore"):
            index = _encrypt(np, keys, index, half)
            while (outside := index >= n).any():
                index = np.where(outside, _encrypt(np, keys, index, half), index)
        return index

    def walk(i: jax.Array) -> jax.Array:
        return jnp.where(i >= n, _encrypt(jnp, keys, i, half), i)

    return jax.lax.while_loop(
        lambda i: (i >= n).any(), walk, _encrypt(jnp, keys, index.astype(jnp.uint32), half)
    )


def _encrypt(xp: Any, keys: Any, x: Any, half: int) -> Any:
    """Runs the network once over `2 * half` bits."""
    low = xp.uint32((1 << half) - 1)
    left, right = x >> xp.uint32(half), x & low
    for r in range(_ROUNDS):
        left, right = right, left ^ (murmur.mix(right ^ keys[r]) & low)
    return (left << xp.uint32(half)) | right
