"""Precision, recall and F1 of latents, and the numbers of a dictionary, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.metrics import dictionary, support


class World:
    spec = base.Spec("world", "test", (3,))
    features = np.eye(3, dtype=np.float32)


class Pixels:
    spec = base.Spec("pixels", "test", (3,))


# Latents 0 and 1 stand for feature 0, latent 2 for feature 2; latent 3, for feature 1, is dead.
W_DEC = np.asarray([[1, 0.1, 0], [2, 0, 0.1], [0, 0, -1], [0, 1, 0]], np.float32)
CODES = np.asarray([[1, 0, 2, 0], [1, 1, 0, 0], [0, 0, -3, 0], [0, 0, 0, 0], [9, 9, 9, 9]])
TRUTH = np.asarray([[1, 0, 0], [2, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]])
MASK = np.asarray([1.0, 1, 1, 1, 0])


def test_latents_are_judged_by_the_feature_they_stand_for():
    prepared = support.prepare({"w_dec": W_DEC}, World)
    np.testing.assert_array_equal(prepared["feature"], [0, 0, 2, 1])
    codes = jnp.asarray(CODES, jnp.float32)
    batch = types.Batch(
        x=jnp.zeros((5, 3)),
        mask=jnp.asarray(MASK, jnp.float32),
        truth=jnp.asarray(TRUTH, jnp.float32),
    )
    output = types.Output(x_hat=batch.x, codes=codes, pre=codes)
    totals = support.sums(batch, output, jnp.zeros(3), prepared)
    found = support.finish({name: np.asarray(total) for name, total in totals.items()})
    # Active, feature active, both: latent 0 2 3 2, latent 1 1 3 1, latent 2 2 2 1, latent 3 0 1 0.
    assert found["precision"] == pytest.approx((2 / 2 + 1 / 1 + 1 / 2 + 0) / 4)
    assert found["recall"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 2 + 0) / 4)
    assert found["f1"] == pytest.approx((4 / 5 + 2 / 4 + 2 / 4 + 0) / 4)
    # Only the third example: the first has too much, the second and the fourth lack a feature.
    assert found["exact_support"] == pytest.approx(1 / 4)


def test_without_known_features_a_dictionary_is_measured_alone():
    params = {"w_dec": W_DEC, "w_enc": W_DEC.T}
    alone, known = (dictionary.prepare(params, data) for data in (Pixels, World))
    own = {"c_dec", "composition", "coherence", "effective_rank"}
    assert set(alone) == {*own, "asymmetry"}
    assert set(known) == set(dictionary.MEANING)
    assert known["asymmetry"] == pytest.approx(0, abs=1e-6)
    assert known["uniqueness"] == 0.75
    assert "asymmetry" not in dictionary.prepare({"w_dec": W_DEC}, World)


def test_models_and_data_that_do_not_serve_are_refused():
    with pytest.raises(errors.UserError, match="features are known: pixels is none"):
        support.prepare({"w_dec": W_DEC}, Pixels)
    with pytest.raises(errors.UserError, match="this model has none"):
        dictionary.prepare({"codebook": W_DEC}, World)
