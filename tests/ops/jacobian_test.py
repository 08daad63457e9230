import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import jacobian, linear

WIDTHS = [(5, 3), (3, 5), (40, 2), (4, 4)]


def _encoder(d_in, d_sae):
    """Two layers; the first has a gradient of its own, which forward-mode autodiff refuses."""
    rng = np.random.RandomState(0)
    w, v = rng.randn(d_in, 6), rng.randn(6, d_sae)
    w, v, b = (jnp.asarray(array, jnp.float32) for array in (w, v, rng.randn(6)))

    def encode(x):
        return jax.nn.sigmoid(jnp.tanh(linear.encode(x, jnp.zeros(d_in), w, b)) @ v)

    def by_rows(x):
        """The same without `linear.encode`, so that jax.jacfwd takes it."""
        return jax.nn.sigmoid(jnp.tanh(x @ w + b[None]) @ v)

    return encode, by_rows


def _x(d_in, rows=3):
    return jnp.asarray(np.random.RandomState(1).randn(rows, d_in), jnp.float32)


@pytest.mark.parametrize(("d_in", "d_sae"), WIDTHS)
def test_the_squared_norm_is_that_of_jacfwd(d_in, d_sae):
    encode, plain = _encoder(d_in, d_sae)
    whole = jax.vmap(jax.jacfwd(lambda row: plain(row[None])[0]))(_x(d_in))
    assert whole.shape == (3, d_sae, d_in)
    found = jax.jit(lambda x: jacobian.squared_norm(encode, x))(_x(d_in))
    np.testing.assert_allclose(found, (np.asarray(whole) ** 2).sum(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(("d_in", "d_sae"), [(5, 3), (3, 5)])
def test_the_estimate_has_no_bias(d_in, d_sae):
    """The mean over all 2^d_sae vectors of signs is the expectation, without sampling error."""
    encode, _ = _encoder(d_in, d_sae)
    every = jnp.asarray(list(itertools.product((-1.0, 1.0), repeat=d_sae)), jnp.float32)
    x = _x(d_in)
    exact = jacobian.squared_norm(encode, x)
    found = jacobian.estimate(encode, x, every)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    one = jacobian.estimate(encode, x, every[:1])
    assert (np.abs(one / exact - 1) > 0.01).all()


def test_each_example_may_have_signs_of_its_own():
    encode, _ = _encoder(5, 3)
    x, signs = _x(5), jnp.asarray(np.random.RandomState(2).choice([-1.0, 1.0], (2, 3, 3)))
    found = jacobian.estimate(encode, x, signs)
    for row in range(3):
        alone = jacobian.estimate(encode, x[row : row + 1], signs[:, row])
        np.testing.assert_allclose(found[row], alone[0], rtol=1e-5)
