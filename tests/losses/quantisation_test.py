import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import quantisation

ROWS, PLACES, WIDTH = 3, 4, 2


def _arrays():
    rng = np.random.RandomState(0)
    return rng.randn(2, ROWS, PLACES, WIDTH).astype(np.float32)


def _term(name, encoded, quantised):
    extras = {"encoded": encoded, "quantised": quantised}
    x = jnp.zeros((ROWS, 5))
    context = types.Context(step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=x[0] > 0)
    output = types.Output(x_hat=x, codes=x, pre=x, extras=extras)
    return getattr(quantisation, name)({}, types.Batch(x=x), output, context)


@pytest.mark.parametrize("name", ["codebook", "commitment"])
def test_distances_are_summed_over_the_width_and_averaged_over_places(name):
    z, e = _arrays().astype(np.float64)
    expected = [np.mean([np.sum((z[i, p] - e[i, p]) ** 2) for p in range(4)]) for i in range(3)]
    found = _term(name, jnp.asarray(z, jnp.float32), jnp.asarray(e, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "moved"), [("codebook", 1), ("commitment", 0)])
def test_each_moves_one_side_towards_the_other(name, moved):
    arrays = [jnp.asarray(a) for a in _arrays()]
    slopes = jax.jit(jax.grad(lambda z, e: _term(name, z, e).sum(), (0, 1)))(*arrays)
    np.testing.assert_array_equal(slopes[1 - moved], np.zeros((ROWS, PLACES, WIDTH)))
    away = arrays[moved] - arrays[1 - moved]
    np.testing.assert_allclose(slopes[moved], 2 * away / PLACES, rtol=1e-5)


@pytest.mark.parametrize("name", ["codebook", "commitment"])
def test_a_term_without_its_model_says_which_to_choose(name):
    x = jnp.zeros((2, 3))
    context = types.Context(step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=x[0] > 0)
    with pytest.raises(errors.ConfigError, match='a codebook: set config.model.name="vq"'):
        getattr(quantisation, name)({}, types.Batch(x=x), types.Output(x, x, x), context)
