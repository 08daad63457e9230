"""The derivatives of a jump: against a plain formula, and against what they estimate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import threshold

PRE = jnp.asarray([[0.5, 0.96, 1.04, 2.0, -3.0], [1.0, 1.2, 0.8, 0.0, 1.01]])
THETA, BANDWIDTH = jnp.asarray([1.0, 1.0, 1.0, 1.9, 1.0]), 0.1
NEAR = np.asarray([[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])  # |pre - theta| < 0.05
ABOVE = np.asarray([[0, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
G = np.arange(1.0, 11.0).reshape(2, 5)


def _slopes(function, to_input):
    def total(pre, theta):
        return (function(pre, theta, BANDWIDTH, to_input) * G).sum()

    return jax.jit(jax.grad(total, (0, 1)))(PRE, THETA)


@pytest.mark.parametrize("to_input", [False, True])
def test_a_step(to_input):
    np.testing.assert_array_equal(threshold.step(PRE, THETA, BANDWIDTH, to_input), ABOVE)
    to_pre, to_theta = _slopes(threshold.step, to_input)
    np.testing.assert_allclose(to_theta, -(G * NEAR).sum(axis=0) / BANDWIDTH, rtol=1e-5)
    np.testing.assert_allclose(to_pre, G * NEAR / BANDWIDTH if to_input else 0 * G, rtol=1e-5)


@pytest.mark.parametrize("to_input", [False, True])
def test_a_count_is_the_sum_of_steps_over_a_row(to_input):
    np.testing.assert_array_equal(threshold.count(PRE, THETA, BANDWIDTH, to_input), [2, 2])

    def total(pre, theta):
        return (threshold.count(pre, theta, BANDWIDTH, to_input) * jnp.asarray([2.0, -3.0])).sum()

    def summed(pre, theta):
        steps = threshold.step(pre, theta, BANDWIDTH, to_input)
        return (steps.sum(axis=1) * jnp.asarray([2.0, -3.0])).sum()

    ours, wanted = (jax.jit(jax.grad(of, (0, 1)))(PRE, THETA) for of in (total, summed))
    for one, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("to_input", [False, True])
def test_a_jump(to_input):
    np.testing.assert_array_equal(threshold.jump(PRE, THETA, BANDWIDTH, to_input), PRE * ABOVE)
    to_pre, to_theta = _slopes(threshold.jump, to_input)
    by_kernel = np.asarray(THETA) / BANDWIDTH * G * NEAR
    np.testing.assert_allclose(to_theta, -by_kernel.sum(axis=0), rtol=1e-5)
    expected = G * ABOVE + (by_kernel if to_input else 0)
    np.testing.assert_allclose(to_pre, expected, rtol=1e-5)


@pytest.mark.parametrize("function", [threshold.step, threshold.jump])
def test_the_mean_slope_is_that_of_the_mean(function):
    """Of many pre-activations of one latent; the mean over them is smooth in the threshold."""
    pre = jnp.asarray(np.random.default_rng(0).standard_normal((2_000_000, 1)), jnp.float32)

    @functools.partial(jax.jit)
    def mean(theta):
        return function(pre, theta, 0.05, False).mean()

    theta, h = jnp.asarray([0.7]), 0.02
    slope = (mean(theta + h) - mean(theta - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(mean))(theta)[0], slope, rtol=0.01)


def test_equal_to_the_threshold_is_not_above_it():
    one = jnp.ones((1, 1))
    assert threshold.step(one, jnp.ones(1), 0.1, False)[0, 0] == 0
    assert threshold.jump(one, jnp.ones(1), 0.1, False)[0, 0] == 0
