"""What is evaluated where an optimiser keeps an average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax.ops import geometry
from sae_jax.optim import averages, constraints, optimizers


def _steps(optimizer, count, params):
    state, seen = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for t in range(count):
        gradient = jax.tree.map(lambda p, t=t: jnp.cos(7 * p + t), params)
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return state, params, seen


def _params():
    rng = np.random.RandomState(0)
    return {
        "w_dec": geometry.unit_rows(jnp.asarray(rng.randn(4, 3), jnp.float32)),
        "b_dec": jnp.asarray(rng.randn(3), jnp.float32),
    }


def test_an_average_weighs_each_step_by_its_age():
    optimizer = optimizers.adam(lambda step: 0.1, average=0.8)
    state, params, seen = _steps(optimizer, 5, _params())
    weights = np.asarray([0.8**age for age in range(4, -1, -1)])
    got = averages.at_rest(state, params)
    for name in got:
        stacked = np.stack([np.asarray(p[name], np.float64) for p in seen])
        expected = np.tensordot(weights / weights.sum(), stacked, 1)
        np.testing.assert_allclose(got[name], expected, atol=1e-6)


def test_an_average_changes_no_step():
    with_one = _steps(optimizers.adam(lambda step: 0.1, average=0.9), 5, _params())[1]
    without = _steps(optimizers.adam(lambda step: 0.1), 5, _params())[1]
    jax.tree.map(np.testing.assert_array_equal, with_one, without)


def test_an_average_is_of_parameters_after_their_constraint():
    link = constraints.unit_norm().link
    optimizer = optimizers.adam(lambda step: 0.1, average=0.5, constraint=link)
    state, params, seen = _steps(optimizer, 1, _params())
    np.testing.assert_allclose(np.linalg.norm(seen[0]["w_dec"], axis=1), 1, rtol=1e-6)
    got = averages.at_rest(state, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, seen[0])


def test_before_the_first_step_the_average_is_where_training_starts():
    optimizer, params = optimizers.adam(lambda step: 0.1, average=0.5), _params()
    got = averages.at_rest(optimizer.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, got, params)


def test_schedule_free_adam_is_evaluated_at_the_mean_of_its_fast_parameters():
    """With a constant rate the average weighs all steps alike: checked on the recursion itself."""
    state, params, _ = _steps(optimizers.schedule_free_adam(lambda step: 0.1), 4, _params())
    z, v = np.asarray(_params()["b_dec"], np.float64), 0.0
    x = y = z
    for t in range(4):
        g = np.cos(7 * np.asarray(y) + t)
        v = 0.999 * v + 0.001 * g**2
        z = z - 0.1 * g / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        x = x + (z - x) / (t + 1)
        y = 0.1 * z + 0.9 * x
    np.testing.assert_allclose(params["b_dec"], y, atol=2e-5)
    np.testing.assert_allclose(averages.at_rest(state, params)["b_dec"], x, atol=2e-5)


def test_without_an_average_there_is_nothing_else_to_evaluate():
    optimizer = optimizers.sgd(lambda step: 0.1)
    assert averages.at_rest(optimizer.init(_params()), _params()) is None


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_cannot_be_is_refused(decay):
    with pytest.raises(ValueError, match="from 0"):
        optimizers.adam(lambda step: 0.1, average=decay)
