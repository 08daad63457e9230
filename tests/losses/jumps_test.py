"""The terms that train thresholds, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import jumps

RNG = np.random.default_rng(0)
PRE = RNG.standard_normal((6, 4)).astype(np.float32)
THETA = np.asarray([0.1, 0.2, 0.3, 0.4], np.float32)
W_DEC = RNG.standard_normal((4, 3)).astype(np.float32)
CODES = PRE * (PRE > THETA)
NORMS = np.linalg.norm(W_DEC, axis=1)
MASK = np.asarray([1, 1, 1, 1, 0, 0], np.float32)
PARAMS = {"w_dec": jnp.asarray(W_DEC), "activation": {"threshold": jnp.asarray(THETA)}}
BATCH = types.Batch(x=jnp.zeros((6, 3)), mask=jnp.asarray(MASK))
OUTPUT = types.Output(x_hat=jnp.zeros((6, 3)), codes=jnp.asarray(CODES), pre=jnp.asarray(PRE))
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(4, bool), True)


def _call(term, params=PARAMS, **knobs):
    return term(params, BATCH, OUTPUT, CONTEXT, **knobs)


def test_l0_counts_what_is_above():
    np.testing.assert_array_equal(_call(jumps.l0), (PRE > THETA).sum(axis=1))


def test_the_target_is_of_the_mean_over_examples_and_not_over_padding():
    mean = (PRE > THETA)[:4].sum(axis=1).mean()
    found = _call(jumps.l0_target, target=3.0)
    np.testing.assert_allclose(found, [(mean / 3 - 1) ** 2] * 6, rtol=1e-6)


def test_thresholds_fall_while_too_few_are_active_and_rise_while_too_many():
    def slope(target):
        def loss(theta):
            params = {**PARAMS, "activation": {"threshold": theta}}
            return _call(jumps.l0_target, params, target=target, bandwidth=1.0).mean()

        return np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(THETA)))

    assert (slope(3.9) > 0).any()  # Descent lowers them.
    assert (slope(3.9) >= 0).all()
    assert (slope(0.1) < 0).any()
    assert (slope(0.1) <= 0).all()


def test_tanh_counts_softly():
    expected = np.tanh(4 * np.abs(CODES) * NORMS).sum(axis=1)
    np.testing.assert_allclose(_call(jumps.tanh), expected, rtol=1e-5)


def test_pre_activations_below_their_threshold_cost_what_they_lack():
    expected = (np.maximum(THETA - PRE, 0) * NORMS).sum(axis=1)
    np.testing.assert_allclose(_call(jumps.pre_activation), expected, rtol=1e-5)


def test_a_model_without_thresholds_is_refused():
    with pytest.raises(errors.UserError, match="none are learned"):
        _call(jumps.l0, {"w_dec": PARAMS["w_dec"]})


def test_latents_that_are_active_too_often_cost_what_they_exceed_the_limit_by():
    share = (PRE > THETA)[:4].mean(axis=0)
    expected = np.maximum(share - 0.3, 0).sum()
    assert expected > 0
    np.testing.assert_allclose(_call(jumps.frequency, limit=0.3), [expected] * 6, rtol=1e-5)


def test_only_their_thresholds_rise():
    def loss(theta):
        params = {**PARAMS, "activation": {"threshold": theta}}
        return _call(jumps.frequency, params, limit=0.3, bandwidth=1.0).mean()

    slope = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(THETA)))
    often = (PRE > THETA)[:4].mean(axis=0) > 0.3
    near = (np.abs(PRE - THETA) < 0.5)[:4].mean(axis=0)
    np.testing.assert_allclose(slope, -near * often, rtol=1e-5)
    assert 0 < often.sum() < 4
