"""Stochastic rounding: up or down with the probability that makes the mean right; and widening.

What decides is a hash of a step and of a number's place, so that a run which goes on from a
checkpoint rounds as if it had never stopped. So do other numbers of devices, but where latents are
moved in blocks (`sae_jax/optim/blocks.py`): there the place is that within a block.
"""

import math

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from sae_jax.ops import murmur


def to_bfloat16(x: Array, chance: Array) -> Array:
    """Returns the bfloat16 below or above each number of `x`, by 16 random bits.

    Args:
      x: float32; what is not finite stays as it is.
      chance: uint32 of the same shape, below 2^16.
    """
    bits = lax.bitcast_convert_type(x, jnp.uint32) + chance
    kept = lax.bitcast_convert_type(bits & jnp.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(x), kept, x).astype(jnp.bfloat16)


def widened(x: Array | np.ndarray) -> Array:
    """Returns `x` in float32, or wider where it is, for what is summed."""
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def chance(shape: tuple[int, ...], count: Array) -> Array:
    """Returns 32 random bits for each place of an array in step `count`."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
        place += lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
    bits = place * jnp.uint32(0x9E3779B1) + count.astype(jnp.uint32) * jnp.uint32(0x85EBCA77)
    return murmur.mix(bits)
