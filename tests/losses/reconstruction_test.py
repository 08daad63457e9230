import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import reconstruction


def _call(term, x, x_hat, y=None):
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=jnp.zeros((2, 1)), pre=jnp.zeros((2, 1)))
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool)
    )
    y = None if y is None else jnp.asarray(y)
    return term({}, types.Batch(x=jnp.asarray(x), y=y), output, context)


X = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]
X_HAT = [[1.0, 0.0, 3.5, 4.0], [-1.0, 1.0, 1.0, 3.0]]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (reconstruction.mse_sum, [0 + 4 + 0.25 + 0, 1 + 1 + 1 + 9]),
        (reconstruction.mse_mean, [4.25 / 4, 12 / 4]),
    ],
)
def test_squared_error_by_hand(term, expected):
    np.testing.assert_allclose(_call(term, X, X_HAT), expected, rtol=1e-6)


@pytest.mark.parametrize("term", [reconstruction.mse_sum, reconstruction.mse_mean])
def test_the_target_is_y_where_there_is_one(term):
    np.testing.assert_array_equal(_call(term, X, X_HAT, y=X_HAT), [0.0, 0.0])
    assert (_call(term, X, X, y=X_HAT) > 0).all()


@pytest.mark.parametrize("term", [reconstruction.mse_sum, reconstruction.mse_mean])
def test_gradients_are_finite_differences(term):
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        x, x_hat = jnp.asarray(rng.randn(2, 4)), jnp.asarray(rng.randn(2, 4))
        check_grads(lambda x_hat: _call(term, x, x_hat), (x_hat,), 1, ["rev"], 1e-7, 1e-7)


def test_importance_falls_from_number_to_number():
    term = functools.partial(reconstruction.mse_importance, decay=0.5)
    expected = [0.5 * 4 + 0.25 * 0.25, 1 + 0.5 + 0.25 + 0.125 * 9]
    np.testing.assert_allclose(_call(term, X, X_HAT), expected, rtol=1e-6)
    whole = functools.partial(reconstruction.mse_importance, decay=1.0)
    np.testing.assert_allclose(_call(whole, X, X_HAT), [4.25, 12], rtol=1e-6)


@pytest.mark.parametrize(
    ("delta", "expected"),
    [  # Residuals 0, 2, -0.5, 0 and 1, -1, -1, -3.
        (1.0, [(2 - 0.5) + 0.125, 0.5 + 0.5 + 0.5 + (3 - 0.5)]),
        (2.0, [2 + 0.125, 0.5 + 0.5 + 0.5 + 2 * (3 - 1)]),
        (100.0, [4.25 / 2, 12 / 2]),
    ],
)
def test_huber_by_hand(delta, expected):
    term = functools.partial(reconstruction.huber, delta=delta)
    np.testing.assert_allclose(_call(term, X, X_HAT), expected, rtol=1e-6)


def test_the_slope_of_huber_is_the_residual_up_to_delta():
    def total(x_hat):
        return _call(functools.partial(reconstruction.huber, delta=1.0), X, x_hat).sum()

    slope = jax.jit(jax.grad(total))(jnp.asarray(X_HAT))
    np.testing.assert_allclose(slope, [[0, -1, 0.5, 0], [-1, 1, 1, 1]])


LOGITS = np.array([[0.0, 2.0, -3.0, 60.0], [-60.0, 0.5, -0.5, 1.0]])
TARGET = np.array([[0.5, 1.0, 0.25, 1.0], [0.0, 0.0, 1.0, 0.75]])


def _bce(logits, target=TARGET):
    output = types.Output(
        x_hat=jax.nn.sigmoid(logits),
        codes=jnp.zeros((2, 1)),
        pre=jnp.zeros((2, 1)),
        extras={"logits": jnp.asarray(logits)},
    )
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool)
    )
    return reconstruction.bce({}, types.Batch(x=jnp.asarray(target)), output, context)


def test_binary_cross_entropy_is_that_of_the_probabilities():
    with jax.enable_x64(True):
        p = 1 / (1 + np.exp(-LOGITS))
        # 1 - p of a large logit is 1 / (1 + e^logit), not what the subtraction leaves of it.
        other = 1 / (1 + np.exp(LOGITS))
        expected = -(TARGET * np.log(p) + (1 - TARGET) * np.log(other)).sum(axis=1)
        np.testing.assert_allclose(_bce(LOGITS), expected, rtol=1e-12)


def test_the_slope_of_binary_cross_entropy_is_probability_less_target():
    slope = jax.jit(jax.grad(lambda logits: _bce(logits).sum()))(jnp.asarray(LOGITS, jnp.float32))
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-LOGITS)) - TARGET, atol=1e-6)


def test_binary_cross_entropy_of_huge_logits_is_finite():
    logits = jnp.asarray([[1e4, -1e4, 1e4, -1e4]] * 2)
    found = _bce(logits, np.array([[1.0, 0, 0, 1]] * 2))
    np.testing.assert_allclose(found, [2e4, 2e4])


@pytest.mark.parametrize("term", [reconstruction.bce, reconstruction.layerwise])
def test_a_term_that_lacks_what_it_reads_says_what_to_set(term):
    with pytest.raises(errors.ConfigError, match=r"sigmoid|layerwise=True"):
        _call(term, X, X_HAT)


def test_the_normalised_error_is_one_for_the_mean():
    mean = np.asarray(X, np.float32).mean(axis=0, keepdims=True).repeat(2, axis=0)
    np.testing.assert_allclose(_call(reconstruction.mse_normalised, X, mean).mean(), 1.0, rtol=1e-6)
    expected = np.asarray([4.25, 12.0]) / 15.0  # ||x - mean||^2 = 7.5 for both; their mean is 7.5.
    got = _call(reconstruction.mse_normalised, X, X_HAT)
    np.testing.assert_allclose(got, 2 * expected, rtol=1e-6)
