import numpy as np
import pytest

from sae_jax.analysis import ratings


def _table(rows=12, columns=9, share=0.6, seed=0):
    rng = np.random.RandomState(seed)
    x = rng.randint(1, 6, (rows, columns)) * (rng.rand(rows, columns) < share)
    x[3], x[:, 4] = 0, 0  # A row and a column without a rating.
    return x


def test_means_by_hand():
    x = np.asarray([[5, 0, 2], [3, 0, 0]])
    np.testing.assert_allclose(ratings.global_mean(x), np.full((2, 3), 10 / 3))
    np.testing.assert_allclose(ratings.column_means(x), [[4, 10 / 3, 2]] * 2)


@pytest.mark.parametrize("penalty", [0.5, 5.0])
def test_biases_are_ridge_regression_on_indicators_of_row_and_column(penalty):
    x = _table()
    row, column = np.nonzero(x)
    n, m = x.shape
    design = np.zeros((len(row), n + m))
    design[np.arange(len(row)), row] = 1
    design[np.arange(len(row)), n + column] = 1
    mean = x[x != 0].mean()
    gram = design.T @ design + penalty * np.eye(n + m)
    b = np.linalg.solve(gram, design.T @ (x[row, column] - mean))
    found = ratings.biases(x, penalty, sweeps=300)
    np.testing.assert_allclose(found, mean + b[:n, None] + b[n:], atol=1e-8)


def test_factors_are_at_a_minimum_of_their_loss():
    x = _table()
    base, known = ratings.biases(x, 1.0), x != 0

    def loss(x_hat, u, v):
        weights = known.sum(1) @ (u**2).sum(1) + known.sum(0) @ (v**2).sum(1)
        return (((x - x_hat) ** 2)[known]).sum() + 0.05 * weights

    got = ratings.factors(x, base, rank=2, penalty=0.05, sweeps=2000)
    # At the minimum both factors are the halves of a weighted singular value decomposition.
    left, right = np.sqrt(np.maximum(known.sum(1), 1)), np.sqrt(np.maximum(known.sum(0), 1))
    a, s, b = np.linalg.svd(left[:, None] * (got - base) * right, full_matrices=False)
    assert s[2] < 1e-8 * s[0]
    u, v = a[:, :2] * np.sqrt(s[:2]) / left[:, None], (b[:2].T * np.sqrt(s[:2])) / right[:, None]
    np.testing.assert_allclose(base + u @ v.T, got, atol=1e-8)
    least = loss(got, u, v)
    rng = np.random.RandomState(1)
    for _ in range(20):
        du, dv = 1e-3 * rng.randn(*u.shape), 1e-3 * rng.randn(*v.shape)
        assert loss(base + (u + du) @ (v + dv).T, u + du, v + dv) > least


def test_factors_of_a_row_without_ratings_add_nothing():
    x = _table()
    base = ratings.biases(x, 1.0)
    got = ratings.factors(x, base, rank=2, penalty=0.1)
    np.testing.assert_array_equal(got[3], base[3])
    np.testing.assert_array_equal(got[:, 4], base[:, 4])


def test_popularity_counts_rows():
    train = np.asarray([[1, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(ratings.popularity(train, np.zeros((3, 3))), [[2, 0, 1]] * 3)


def test_pure_svd_of_the_training_rows_is_their_best_approximation():
    train = (_table(share=0.4) != 0).astype(float)
    u, s, v = np.linalg.svd(train)
    expected = (u[:, :3] * s[:3]) @ v[:3]
    np.testing.assert_allclose(ratings.pure_svd(train, train, 3), expected, atol=1e-8)


def test_ease_is_ridge_regression_of_each_item_on_the_others():
    train = (_table(share=0.4) != 0).astype(float)
    x = (_table(share=0.4, seed=1) != 0).astype(float)
    found = ratings.ease(train, x, 0.7)
    for item in range(train.shape[1]):
        others = np.delete(np.arange(train.shape[1]), item)
        gram = train[:, others].T @ train[:, others] + 0.7 * np.eye(len(others))
        b = np.linalg.solve(gram, train[:, others].T @ train[:, item])
        np.testing.assert_allclose(found[:, item], x[:, others] @ b, atol=1e-9)
