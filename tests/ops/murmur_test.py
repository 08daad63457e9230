import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.ops import murmur

WORDS = np.asarray([0, 1, 2, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF], np.uint32)
EXPECTED = [0, 0x514E28B7, 0x30F4C306, 0x6D3C65A0, 0x0DE5C6A9, 0x81F16F39]


def test_it_is_the_finaliser_of_murmurhash3():
    found = murmur.mix(WORDS)
    assert found.dtype == np.uint32
    assert list(map(hex, found)) == list(map(hex, EXPECTED))


def test_numpy_and_jax_agree_and_so_do_single_numbers():
    found = jax.jit(murmur.mix)(jnp.asarray(WORDS))
    assert found.dtype == jnp.uint32
    np.testing.assert_array_equal(found, murmur.mix(WORDS))
    assert [int(murmur.mix(word)) for word in WORDS] == found.tolist()
