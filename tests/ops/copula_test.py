"""The copula against the normal numbers it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from sae_jax.ops import copula

PROBABILITIES = np.asarray([0.4, 0.1, 0.02, 0.3, 1.0])
FACTOR = np.asarray([[0.6, 0.1], [0.5, 0.2], [-0.3, 0.8], [0.0, 0.0], [0.1, 0.1]])


def _on(rows):
    """Events of so many draws, bool `[rows, 5]`."""
    known = copula.make(PROBABILITIES, FACTOR)

    def draw(key):
        shared, own = jax.random.split(key)
        scores = copula.scores(known, jax.random.normal(shared, (2,)))
        return copula.uniform(own, 5) < copula.chance(scores)

    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), rows)))


def test_events_are_as_frequent_and_as_often_together_as_normal_numbers_above_thresholds():
    on = _on(200_000)
    np.testing.assert_allclose(on.mean(axis=0), PROBABILITIES, atol=0.005)
    correlations = FACTOR @ FACTOR.T
    for i, j in ((0, 1), (0, 2), (1, 2), (2, 3)):
        below = special.ndtri(PROBABILITIES[[i, j]])  # Both signs turned: below minus t.
        cov = [[1, correlations[i, j]], [correlations[i, j], 1]]
        both = stats.multivariate_normal.cdf(below, cov=cov)
        assert (on[:, i] & on[:, j]).mean() == pytest.approx(both, abs=0.004), (i, j)


def test_chance_and_normal_are_the_normal_distribution_and_its_inverse():
    x = np.linspace(-9, 9, 50)
    found = copula.chance(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, special.ndtr(x), rtol=2e-4)
    q = np.linspace(0.001, 0.999, 50)
    found = copula.normal(jnp.asarray(q, jnp.float32))
    np.testing.assert_allclose(found, special.ndtri(q), atol=1e-4)


def test_uniform_numbers_are_fine_enough_for_what_is_rare():
    found = np.asarray(copula.uniform(jax.random.key(0), 2**20))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0 < found.min() < 2.0**-18
    assert found.max() <= 1


def test_factors_leave_each_event_something_of_its_own():
    small = copula.factors(np.random.RandomState(0), 2000, 25, 0.1)
    assert small.std() == pytest.approx(0.1, rel=0.02)
    large = copula.factors(np.random.RandomState(0), 2000, 25, 1.0)
    assert (large**2).sum(axis=1).max() == pytest.approx(0.99)
