"""A checksum of a tree of arrays that is the same wherever their parts lie."""

from typing import Any

import jax
import jax.numpy as jnp

_MULTIPLIER = 0x9E3779B1  # 2^32 over the golden ratio, odd.


def checksums(tree: Any) -> jax.Array:
    """Returns one uint32 for each leaf, `[leaves]`.

    The bits of each number, times an odd number that depends on its place, summed modulo 2^32: in
    any order, so arrays may be spread over devices, and no single changed number goes unseen.
    """
    return jnp.stack([_checksum(leaf) for leaf in jax.tree.leaves(tree)])


def _checksum(leaf: jax.Array) -> jax.Array:
    bits = _bits(leaf).astype(jnp.uint32)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis, size in enumerate(bits.shape):
        along = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        place = place * jnp.uint32(size) + along
    return (bits * (2 * place * jnp.uint32(_MULTIPLIER) + 1)).sum(dtype=jnp.uint32)


def _bits(leaf: jax.Array) -> jax.Array:
    """Returns the bits of each number as an unsigned integer."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    return jax.lax.bitcast_convert_type(leaf, unsigned)
