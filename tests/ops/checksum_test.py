import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

from sae_jax.ops import checksum

_LEAVES = {
    "float32": jnp.linspace(-1, 1, 24).reshape(4, 6),
    "bfloat16": jnp.linspace(-1, 1, 24).reshape(4, 6).astype(jnp.bfloat16),
    "int32": jnp.arange(24).reshape(4, 6),
    "uint8": jnp.arange(24, dtype=jnp.uint8).reshape(4, 6),
    "bool": (jnp.arange(24) % 3 == 0).reshape(4, 6),
}


@pytest.mark.parametrize("name", _LEAVES)
def test_one_changed_number_anywhere_changes_the_checksum(name):
    leaf = _LEAVES[name]
    before = int(checksum.checksums([leaf])[0])
    for row in range(4):
        for column in range(6):
            value = leaf[row, column]
            other = ~value if name == "bool" else value + jnp.asarray(1, leaf.dtype)
            changed = leaf.at[row, column].set(other)
            assert int(checksum.checksums([changed])[0]) != before


def test_two_numbers_that_change_places_change_the_checksum():
    leaf = jnp.asarray([1.0, 2.0, 3.0])
    swapped = jnp.asarray([2.0, 1.0, 3.0])
    assert checksum.checksums([leaf])[0] != checksum.checksums([swapped])[0]


def test_it_is_what_numpy_computes():
    leaf = np.asarray([[1.5, -2.0], [0.0, 3.25]], np.float32)
    bits = leaf.view(np.uint32).astype(object).reshape(-1)
    weights = [(2 * place * 0x9E3779B1 + 1) % 2**32 for place in range(4)]
    expected = sum(int(b) * w for b, w in zip(bits, weights, strict=True)) % 2**32
    assert int(checksum.checksums([jnp.asarray(leaf)])[0]) == expected


def test_it_does_not_depend_on_where_the_parts_lie():
    grid = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    leaf = jax.random.normal(jax.random.key(0), (8, 12))
    whole = int(checksum.checksums([leaf])[0])
    for spec in (("a", "b"), ("b", None), (None, ("a", "b"))):
        placed = jax.device_put(leaf, NamedSharding(grid, PartitionSpec(*spec)))
        assert int(jax.jit(checksum.checksums)([placed])[0]) == whole


def test_keys_and_scalars_have_one_too():
    left = checksum.checksums({"key": jax.random.key(0), "step": jnp.asarray(3)})
    right = checksum.checksums({"key": jax.random.key(1), "step": jnp.asarray(3)})
    assert left[0] != right[0]
    assert left[1] == right[1]
