import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from sae_jax.ops import likelihood


def _arrays(draws=3, rows=4, width=7):
    rng = np.random.RandomState(0)
    return rng.rand(rows, 1, width) < 0.4, 3 * rng.randn(rows, draws, width)


def test_bernoulli_is_that_of_scipy():
    target, logits = _arrays()
    expected = stats.bernoulli(special.expit(logits)).logpmf(target).sum(axis=-1)
    found = likelihood.log_likelihood(jnp.asarray(target, jnp.float32), jnp.asarray(logits, "f4"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_target_between_0_and_1_is_a_mixture_of_the_logs():
    p = special.expit(0.3)
    found = likelihood.log_likelihood(jnp.full((1,), 0.2), jnp.full((1,), 0.3))
    np.testing.assert_allclose(found, 0.2 * np.log(p) + 0.8 * np.log(1 - p), rtol=1e-6)


def test_logits_of_any_size_are_exact():
    logits = jnp.asarray([[1e4, -1e4], [-90.0, 90.0]])
    target = jnp.asarray([[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(likelihood.log_likelihood(target, logits), [0.0, -180.0])
    slope = jax.jit(jax.grad(lambda logits: likelihood.log_likelihood(target, logits).sum()))(
        logits
    )
    np.testing.assert_allclose(slope, [[0, 0], [1, -1]], atol=1e-6)


def test_the_gradient_is_that_of_autodiff():
    target, logits = (jnp.asarray(a, jnp.float32) for a in _arrays())
    slope = jnp.asarray(np.random.RandomState(1).randn(4, 3), jnp.float32)

    def plain(target, logits):
        log_p = target * jax.nn.log_sigmoid(logits) + (1 - target) * jax.nn.log_sigmoid(-logits)
        return (slope * log_p.sum(axis=-1)).sum()

    def ours(target, logits):
        return (slope * likelihood.log_likelihood(target, logits)).sum()

    expected = jax.jit(jax.grad(plain, (0, 1)))(target, logits)
    for found, value in zip(jax.jit(jax.grad(ours, (0, 1)))(target, logits), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 1.0, jnp.asarray(2.5)])
def test_normal_is_that_of_scipy(sigma):
    target, decoded = _arrays()
    expected = stats.norm(decoded, float(sigma)).logpdf(target).sum(axis=-1)
    found = likelihood.log_likelihood(
        jnp.asarray(target, jnp.float32), jnp.asarray(decoded, jnp.float32), sigma
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
