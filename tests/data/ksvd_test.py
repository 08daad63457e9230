"""The synthetic test of K-SVD: three atoms a signal, and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.data import base, ksvd


def _batch(data, index):
    return jax.device_get(jax.jit(data.decode)({"number": jnp.asarray(index)}))


@pytest.fixture(scope="module")
def data():
    return ksvd.load("test")


@pytest.fixture(scope="module")
def batch(data):
    return _batch(data, np.arange(10_000))


def test_a_signal_is_three_atoms_and_noise_of_a_hundredth(data, batch):
    assert ((batch.truth != 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose((batch.truth != 0).mean(axis=0), np.full(50, 0.06), atol=0.01)
    codes = batch.truth[batch.truth != 0]
    assert (codes.mean(), codes.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    clean = batch.truth @ data.features
    noise = batch.x - clean
    assert 10 * np.log10((clean**2).sum() / (noise**2).sum()) == pytest.approx(20, abs=0.2)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.04
    np.testing.assert_allclose(np.linalg.norm(data.features, axis=1), np.ones(50), rtol=1e-6)


def test_noise_is_the_same_in_every_batch(data, batch):
    np.testing.assert_allclose(_batch(data, [7, 3]).x, batch.x[[7, 3]], atol=1e-5)


def test_without_noise_there_is_none_and_training_has_1500_signals():
    data = ksvd.load("train", snr=None)
    assert data.length == 1500
    found = base.first(data, 100)
    np.testing.assert_allclose(found.x, found.truth @ data.features, atol=1e-5)
