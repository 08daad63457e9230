"""The k largest of each row, in one stage and in two."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import topk


@pytest.mark.parametrize(
    ("columns", "k"), [(4096, 5), (12288, 32), (1024, 3), (1000, 3), (1001, 3), (64, 64)]
)
@pytest.mark.parametrize("grain", [0.0, 0.5])
def test_it_finds_what_lax_finds_and_of_equals_the_first(columns, k, grain):
    x = jax.random.normal(jax.random.key(columns), (9, columns))
    if grain:
        x = jnp.round(x / grain) * grain
    x = x.at[0].set(0.0).at[1].set(-jnp.inf).at[2, 7].set(jnp.inf)
    values, places = jax.jit(topk.top_k, static_argnums=1)(x, k)
    wanted_values, wanted_places = lax.top_k(x, k)
    np.testing.assert_array_equal(values, wanted_values)
    np.testing.assert_array_equal(places, wanted_places)
    assert places.dtype == jnp.int32


def test_nan_is_not_lost():
    x = jax.random.normal(jax.random.key(0), (4, 4096)).at[2, 3000].set(jnp.nan)
    values, places = topk.top_k(x, 8)
    assert np.isnan(values[2, 0])
    assert places[2, 0] == 3000
    assert np.isfinite(values[jnp.asarray([0, 1, 3])]).all()


def test_no_gradient_passes():
    x = jax.random.normal(jax.random.key(0), (4, 4096))
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: topk.top_k(x, 8)[0].sum()))(x), 0.0)
