"""Recommenders that are no autoencoders, for comparison: from a table of ratings to its gaps.

A table is `[rows, columns]`, users by items or items by users, and 0 where there is no rating.
"""

import numpy as np


def global_mean(x: np.ndarray) -> np.ndarray:
    """Returns the mean rating everywhere, `[rows, columns]`."""
    return np.full(x.shape, x[x != 0].mean())


def column_means(x: np.ndarray) -> np.ndarray:
    """Returns each column's mean rating; the mean of all for a column without a rating."""
    known = x != 0
    count = known.sum(axis=0)
    mean = np.where(count, x.sum(axis=0) / np.maximum(count, 1), x[known].mean())
    return np.broadcast_to(mean, x.shape)


def biases(x: np.ndarray, penalty: float, sweeps: int = 30) -> np.ndarray:
    """Returns `mu + b_row + b_column` (Koren, Bell & Volinsky 2009, "baseline predictors").

    `mu` is the mean rating; the biases minimise `sum (x - mu - b_row - b_column)^2 + penalty
    (sum b_row^2 + sum b_column^2)` over known ratings, each side solved in turn, `sweeps` times.

    Args:
      x: `[rows, columns]`.
      penalty: how many ratings of 0 bias each row and each column has besides, above 0.
      sweeps: over both sides.
    """
    known = x != 0
    rest = np.where(known, x - x[known].mean(), 0.0)
    column = np.zeros(x.shape[1])
    for _ in range(sweeps):
        row = (rest - known * column).sum(axis=1) / (known.sum(axis=1) + penalty)
        column = (rest - known * row[:, None]).sum(axis=0) / (known.sum(axis=0) + penalty)
    return x[known].mean() + row[:, None] + column


def factors(
    x: np.ndarray, base: np.ndarray, rank: int, penalty: float, sweeps: int = 15, seed: int = 0
) -> np.ndarray:
    """Returns `base + u v^T`: what is left of the ratings, factorised: PCA with missing numbers.

    `u` and `v` minimise `sum (x - base - u v^T)^2` over known ratings plus `penalty (sum_i n_i
    |u_i|^2 + sum_j n_j |v_j|^2)`, `n` the ratings in a row or column, by alternating least squares
    (Zhou et al. 2008, ALS-WR).

    Args:
      x: `[rows, columns]`.
      base: `[rows, columns]`, what is not factorised, as `biases` gives it.
      rank: columns of u and v.
      penalty: for each rating, above 0.
      sweeps: over both sides.
      seed: of the first v.
    """
    known = (x != 0).astype(np.float64)
    rest = known * (x - base)
    v = 0.1 * np.random.RandomState(seed).randn(x.shape[1], rank)
    for _ in range(sweeps):
        u = _solved(rest, known, v, penalty)
        v = _solved(rest.T, known.T, u, penalty)
    return base + u @ v.T


def _solved(rest: np.ndarray, known: np.ndarray, v: np.ndarray, penalty: float) -> np.ndarray:
    """Returns the best `u` for a `v`, `[rows, rank]`; 0 for a row without a rating."""
    rank = v.shape[1]
    squares = (known @ (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)).reshape(-1, rank, rank)
    count = np.maximum(known.sum(axis=1), 1)
    left = squares + penalty * count[:, None, None] * np.eye(rank)
    return np.linalg.solve(left, (rest @ v)[:, :, None])[:, :, 0]


def popularity(train: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns as score of each item how many of `train` have it, the same for every row of `x`."""
    return np.broadcast_to((train != 0).sum(axis=0).astype(np.float64), x.shape)


def pure_svd(train: np.ndarray, x: np.ndarray, rank: int) -> np.ndarray:
    """Returns scores `x v v^T`, v the first right singular vectors (Cremonesi et al. 2010).

    PCA without centring: the best linear autoencoder of that width.
    """
    v = np.linalg.svd(train.astype(np.float64), full_matrices=False)[2][:rank].T
    return x @ v @ v.T


def ease(train: np.ndarray, x: np.ndarray, penalty: float) -> np.ndarray:
    """Returns scores `x b`: a linear autoencoder of full rank that may not copy (Steck 2019).

    `b` minimises `||train - train b||^2 + penalty ||b||^2` with a diagonal of 0:
    `b = I - p diag(1 / diag p)`, `p = (train^T train + penalty I)^-1`.
    """
    gram = train.T.astype(np.float64) @ train
    p = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0.0)
    return x @ b
