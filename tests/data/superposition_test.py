"""The toy model of superposition's five features."""

import jax
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base, superposition


@pytest.mark.parametrize("probability", [0.05, 1.0])
def test_numbers_are_uniform_where_they_are_on(probability):
    data = superposition.load("test", probability)
    batch = jax.device_get(base.first(data, 50_000))
    np.testing.assert_array_equal(batch.x, batch.truth)
    assert batch.x.shape == (50_000, 5)
    np.testing.assert_allclose((batch.x > 0).mean(axis=0), np.full(5, probability), atol=0.005)
    on = np.sort(batch.x[batch.x > 0])
    assert np.abs(on - np.arange(len(on)) / len(on)).max() < 0.02
    met = ((batch.x[:, 0] > 0) & (batch.x[:, 1] > 0)).mean()
    assert met == pytest.approx(probability**2, abs=0.002)


@pytest.mark.parametrize("probability", [0.0, 1.5])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(errors.DataError, match="above 0 and at most 1"):
        superposition.load("train", probability)
