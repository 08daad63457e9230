import jax
import numpy as np
import pytest

from sae_jax.ops import nonzero


@pytest.mark.parametrize("columns", [1, 31, 32, 96, 100])
def test_it_counts_what_is_not_zero(columns):
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((7, columns)).astype(np.float32)
    x[rng.random(x.shape) < 0.6] = 0.0
    x[0], x[1] = 0.0, np.nan
    found = jax.jit(nonzero.in_rows)(x)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.count_nonzero(x, axis=1))
    np.testing.assert_array_equal(jax.vmap(nonzero.in_rows)(x[None])[0], found)
