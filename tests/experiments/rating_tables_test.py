"""The baselines of the tables of ratings, rankings and sequences."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tables import movielens, ranking, sequences
from sae_jax import types
from sae_jax.data import base
from sae_jax.metrics import rating_error


def test_errors_of_a_baseline_are_those_of_the_metric():
    rng = np.random.RandomState(0)
    x_hat, y = 3 + 3 * rng.randn(20, 9), rng.randint(0, 6, (20, 9))
    arrays = (jnp.asarray(array, jnp.float32) for array in (y, x_hat))
    y_, x_hat_ = arrays
    output = types.Output(x_hat=x_hat_, codes=x_hat_, pre=x_hat_)
    sums = rating_error.sums(types.Batch(x=y_), output, jnp.zeros(9))
    expected = rating_error.finish({name: np.asarray(total) for name, total in sums.items()})
    assert movielens._errors(x_hat, y) == pytest.approx(expected, rel=1e-5)


def test_what_is_held_out_ranks_first_where_the_scores_say_so():
    x, y = np.eye(4)[:2], np.eye(4)[2:]
    assert ranking._ranked(y, x, y) == pytest.approx(dict.fromkeys(ranking.COLUMNS, 1.0), rel=1e-6)
    assert ranking._ranked(-y, x, y)["ndcg_at_100"] == pytest.approx(1 / np.log2(4), rel=1e-6)


def _data(rows, slope):
    """Straight lines of two channels: 5 steps are seen, 3 follow."""
    start, step = np.random.RandomState(rows).randn(2, rows, 1, 2)
    y = (start + slope * step * np.arange(8)[:, None]).astype(np.float32).reshape(rows, 16)
    return base.Arrays(base.Spec("lines", "test", (10,), (5, 2), (16,)), y[:, :10], y=y)


def test_a_sequence_is_cut_into_what_is_seen_and_what_follows():
    data = _data(7, 1.0)
    x, y, width = sequences._cut(data)
    np.testing.assert_array_equal(np.concatenate([x, y], axis=1), data.y)
    assert (x.shape, y.shape, width) == ((7, 10), (7, 6), 2)


def test_baselines_of_sequences_by_hand():
    train, test = (sequences._cut(_data(rows, 1.0)) for rows in (400, 50))
    still = sequences._cut(_data(50, 0.0))
    assert sequences._baseline("last step repeated", 4, train, still) == 0
    y = test[1]
    step = (y[:, 4:] - y[:, 2:4]) ** 2
    expected = step.mean() * (1 + 4 + 9) / 3
    assert sequences._baseline("last step repeated", 4, train, test) == pytest.approx(
        expected, 1e-4
    )
    expected = ((y - train[1].mean(axis=0)) ** 2).mean()
    assert sequences._baseline("mean of what follows", 4, train, test) == pytest.approx(expected)
    # Two channels of start and slope: four components say all.
    assert sequences._baseline("linear, on PCA", 4, train, test) < 1e-4 * expected
    assert sequences._baseline("linear, on PCA", 1, train, test) > 1e-2 * expected
