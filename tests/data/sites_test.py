"""Sites with shared and exclusive features."""

import jax
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import sites


def _norms(data):
    return np.linalg.norm(data.features.reshape(-1, *data.spec.grid), axis=2)


@pytest.mark.parametrize("count", [2, 3])
def test_shared_features_are_at_all_sites_and_exclusive_ones_at_one(count):
    data = sites.load("test", sites=count, weakest=0.2)
    norms = _norms(data)
    assert norms.shape == (50 + 10 * count, count)
    np.testing.assert_allclose(norms[:50].max(axis=1), 1, atol=1e-5)
    assert 0.2 <= norms[:50].min() < 0.35
    np.testing.assert_allclose(norms[50:], np.repeat(np.eye(count), 10, axis=0), atol=1e-5)
    assert data.spec.d_in == 32 * count


def test_directions_at_two_sites_are_others_or_if_aligned_the_same():
    for aligned in (False, True):
        rows = sites.load("test", aligned=aligned, weakest=1.0).features.reshape(-1, 2, 32)[:50]
        cosines = (rows[:, 0] * rows[:, 1]).sum(axis=1)
        assert (np.abs(cosines - 1) < 1e-5).all() if aligned else np.abs(cosines).mean() < 0.3


def test_codes_are_on_as_often_as_is_said_and_make_the_examples():
    data = sites.load("test")
    batch = jax.device_get(jax.jit(data.decode)(data.rows(np.arange(4000))))
    assert (batch.truth > 0).mean() == pytest.approx(0.06, abs=0.003)
    assert batch.truth[batch.truth > 0].std() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(batch.x, batch.truth @ data.features, atol=1e-4)
    assert batch.y is None


@pytest.mark.parametrize("kwargs", [{"sites": 1}, {"weakest": 0.0}, {"weakest": 1.5}])
def test_what_cannot_be_is_refused(kwargs):
    with pytest.raises(errors.DataError, match=next(iter(kwargs))):
        sites.load("test", **kwargs)
