"""The baselines of the table: mixtures of Bernoullis."""

import itertools

import numpy as np
import pytest

from experiments.tables import iwae


def _draws(rows=4000):
    """Examples of two kinds, a third of the first, and their true log-likelihood."""
    rng = np.random.RandomState(0)
    mean = np.asarray([[0.9, 0.8, 0.1, 0.2, 0.5], [0.2, 0.1, 0.7, 0.9, 0.5]])
    kind = (rng.rand(rows) < 2 / 3).astype(int)
    x = (rng.rand(rows, 5) < mean[kind]).astype(np.float32)
    each = [np.prod(np.where(x > 0, m, 1 - m), axis=1) for m in mean]
    return x, np.log(each[0] / 3 + 2 * each[1] / 3)


def test_one_component_is_independent_pixels():
    x, _ = _draws()
    mean = x.mean(axis=0)
    expected = (x * np.log(mean) + (1 - x) * np.log(1 - mean)).sum(axis=1)
    np.testing.assert_allclose(iwae.mixture(x, 1, seed=0)(x), expected, rtol=1e-3)


def test_two_components_find_the_two_kinds():
    x, truth = _draws()
    found = iwae.mixture(x, 2, seed=0)
    np.testing.assert_allclose(sorted(found.share), [1 / 3, 2 / 3], atol=0.05)
    assert found(x).mean() == pytest.approx(truth.mean(), abs=0.01)
    assert found(x).mean() > iwae.mixture(x, 1, seed=0)(x).mean() + 0.3


def test_it_is_a_distribution():
    x, _ = _draws(200)
    every = np.asarray(list(itertools.product([0, 1], repeat=5)), np.float32)
    assert np.exp(iwae.mixture(x, 3, seed=0)(every)).sum() == pytest.approx(1, abs=1e-5)
