"""The world of independent features: its known numbers, for both papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import independent

SHARKEY = dict(n_features=512, d_in=256, active=5.0, decay=0.99)
SANITY = dict(n_features=3200, d_in=100, active=20.0, strength="lognormal")


def _batch(data, index):
    return jax.device_get(jax.jit(data.decode)({"number": jnp.asarray(index)}))


@pytest.fixture(scope="module")
def data():
    return independent.load("test", **SHARKEY)


@pytest.fixture(scope="module")
def sharkey(data):
    return _batch(data, np.arange(20_000))


@pytest.fixture(scope="module")
def sanity():
    return _batch(independent.load("test", **SANITY), np.arange(5000))


def test_features_are_on_as_often_as_is_said_and_independently(data, sharkey):
    often = independent.probabilities(512, 5.0, 0.99)
    assert often.sum() == pytest.approx(5.0)
    np.testing.assert_allclose(often[1:], 0.99 * often[:-1])
    on = sharkey.truth > 0
    deviation = np.sqrt(often * (1 - often) / len(on))
    assert (np.abs(on.mean(axis=0) - often) < 5 * deviation).all()
    # Were they not independent, the variance of their number would not be the sum of variances.
    assert on.sum(axis=1).var() == pytest.approx((often * (1 - often)).sum(), rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(data.features, axis=1), np.ones(512), rtol=1e-6)
    np.testing.assert_allclose(sharkey.x, sharkey.truth @ data.features, atol=1e-5)


def test_strengths_are_uniform_or_lognormal(sharkey, sanity):
    uniform = np.sort(sharkey.truth[sharkey.truth > 0])
    assert np.abs(uniform - np.arange(len(uniform)) / len(uniform)).max() < 0.01
    logs = np.log(sanity.truth[sanity.truth > 0])
    assert (logs.mean(), logs.std()) == (pytest.approx(0, abs=4e-3), pytest.approx(0.25, abs=3e-3))


def test_twenty_of_many_features_are_active(sanity):
    assert independent.probabilities(3200, 20.0, 1.0) == pytest.approx(0.00625)
    on = (sanity.truth > 0).sum(axis=1)
    assert on.mean() == pytest.approx(20, abs=0.3)
    assert on.var() == pytest.approx(20 * (1 - 0.00625), rel=0.08)


def test_an_example_is_the_same_in_every_batch_and_of_its_seed(data, sharkey):
    alone = _batch(data, [5, 2])
    np.testing.assert_array_equal(alone.truth, sharkey.truth[[5, 2]])
    np.testing.assert_allclose(alone.x, sharkey.x[[5, 2]], atol=1e-5)
    other = _batch(independent.load("test", **SHARKEY, seed=1), [5, 2])
    assert np.abs(other.x - alone.x).max() > 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(strength="normal"), 'strength="normal": choose from uniform, lognormal'),
        (dict(active=700.0), "it must be between 0 and 1"),
        (dict(active=0.0), "it must be between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(errors.DataError, match=message):
        independent.load("test", **{**SHARKEY, **wrong})
