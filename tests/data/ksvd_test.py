"""The synthetic test of K-SVD: three atoms a signal, and noise."""

import jax
import numpy as np
import pytest

from sae_jax.data import base, ksvd


def test_a_signal_is_three_atoms_and_noise_of_a_hundredth():
    data = ksvd.load("test")
    batch = jax.device_get(base.first(data, data.length))
    assert ((batch.truth != 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose((batch.truth != 0).mean(axis=0), np.full(50, 0.06), atol=0.01)
    codes = batch.truth[batch.truth != 0]
    assert (codes.mean(), codes.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    clean = batch.truth @ data.features
    noise = batch.x - clean
    assert 10 * np.log10((clean**2).sum() / (noise**2).sum()) == pytest.approx(20, abs=0.2)
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.04
    np.testing.assert_allclose(np.linalg.norm(data.features, axis=1), np.ones(50), rtol=1e-6)


def test_without_noise_there_is_none_and_training_has_1500_signals():
    data = ksvd.load("train", snr=None)
    assert data.length == 1500
    batch = jax.device_get(base.first(data, 100))
    np.testing.assert_allclose(batch.x, batch.truth @ data.features, atol=1e-5)


def test_noise_is_the_same_in_every_batch():
    data = ksvd.load("train", snr=10.0)
    np.testing.assert_array_equal(base.first(data, 7).x, base.first(data, 3 + 4).x)
    np.testing.assert_allclose(base.first(data, 7).x[:3], base.first(data, 3).x, atol=1e-5)
    assert data.fingerprint() != ksvd.load("train", snr=20.0).fingerprint()
