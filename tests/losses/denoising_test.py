"""Losses that look at both what a model saw and what it was to make of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import reconstruction

CLEAN = [[1.0, 0.0, 0.5, 0.25], [0.0, 1.0, 1.0, 0.0]]
SEEN = [[0.0, 0.0, 0.5, 1.0], [0.0, 1.0, 1.0, 0.0]]  # Two numbers of the first are corrupted.
X_HAT = [[0.5, 0.5, 0.5, 0.75], [0.5, 1.0, 1.0, 0.0]]


def _context(step=0):
    return types.Context(
        step=jnp.asarray(step, jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool)
    )


def _call(term, x_hat, extras=None, step=0, **knobs):
    x_hat = jnp.asarray(x_hat)
    output = types.Output(x_hat, jnp.zeros((2, 1)), jnp.zeros((2, 1)), extras or {})
    batch = types.Batch(x=jnp.asarray(SEEN), y=jnp.asarray(CLEAN))
    return np.asarray(term({}, batch, output, _context(step), **knobs))


def test_emphasised_weighs_the_corrupted_numbers_apart():
    found = _call(reconstruction.emphasised, X_HAT, alpha=2.0, beta=0.5)
    # Squared errors 1/4, 1/4, 0, 1/4: the first and the last are of corrupted numbers.
    np.testing.assert_allclose(found, [2 * (0.25 + 0.25) + 0.5 * 0.25, 0.5 * 0.25])


def test_emphasised_of_equal_weights_is_the_squared_error():
    found = _call(reconstruction.emphasised, X_HAT, alpha=1.0, beta=1.0)
    np.testing.assert_allclose(found, _call(reconstruction.mse_sum, X_HAT))


def test_emphasised_cross_entropy_by_hand():
    logits = np.asarray([[2.0, -1.0, 0.5, 0.0], [-3.0, 1.0, 2.0, -1.0]])
    found = _call(
        reconstruction.emphasised,
        X_HAT,
        {"logits": jnp.asarray(logits)},
        alpha=1.0,
        beta=0.25,
        of="bce",
    )
    p, t = 1 / (1 + np.exp(-logits)), np.asarray(CLEAN)
    each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    weight = np.where(np.asarray(SEEN) != t, 1.0, 0.25)
    np.testing.assert_allclose(found, (weight * each).sum(axis=1), rtol=1e-5)


def test_the_first_layer_is_trained_towards_the_target_and_the_others_towards_their_input():
    inner = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    extras = {
        "layer_input": (jnp.asarray(SEEN), inner),
        "layer_output": (jnp.asarray(X_HAT), inner + 1),
    }
    first = _call(reconstruction.layerwise, X_HAT, extras, step=9, steps=10)
    np.testing.assert_allclose(first, [0.75, 0.25])
    for step in (10, 99):
        second = _call(reconstruction.layerwise, X_HAT, extras, step=step, steps=10)
        np.testing.assert_allclose(second, [2.0, 2.0])


def test_what_is_to_be_emphasised_is_one_of_two():
    with pytest.raises(errors.ConfigError, match='of="l1": choose from mse, bce'):
        _call(reconstruction.emphasised, X_HAT, of="l1")
