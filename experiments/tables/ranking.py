"""How high films that a new user likes rank, MovieLens-100k: strong generalisation.

The protocol of Liang et al. 2018: liked is what has 4 stars or more; 10 % of the users are for
test, 10 % for model selection; a fifth of what such a user likes is held out, the rest is known. A
seed is a random choice of all these, and an initial state. What could be chosen was, by NDCG@100 of
the users for model selection: rank and penalty of the linear models anew in each split.
"""

from collections.abc import Callable, Sequence
import functools

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from sae_jax import types
from sae_jax.analysis import ratings
from sae_jax.data import movielens_implicit
from sae_jax.metrics import ranking

TITLE = "Ranking films, MovieLens-100k"
COLUMNS = {
    "ndcg_at_100": "NDCG@100",
    "recall_at_20": "recall@20",
    "recall_at_50": "recall@50",
}
SIZE = (7.0, 2.8)
_LINEAR: dict[str, list[Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "most popular": [ratings.popularity],
    "PCA, not centred (PureSVD)": [
        functools.partial(ratings.pure_svd, rank=rank) for rank in (5, 10, 20, 40, 80)
    ],
    "linear, no copying (EASE)": [
        functools.partial(ratings.ease, penalty=penalty) for penalty in (30, 100, 300, 1000)
    ],
}
ROWS = (
    *(tables.Row(label) for label in _LINEAR),
    tables.Row("Mult-DAE", "configs/movielens_ranking.py:dae"),
    tables.Row("Mult-VAE", "configs/movielens_ranking.py"),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns recalls and NDCG of the test users."""
    if run is not None:
        return {name: run.results[f"test/{name}"] for name in COLUMNS}
    train = movielens_implicit.load("train", fold=seed).x.astype(np.float64)

    def score(model: Callable[[np.ndarray, np.ndarray], np.ndarray], split: str) -> tables.Numbers:
        data = movielens_implicit.load(split, fold=seed)
        return _ranked(model(train, data.x.astype(np.float64)), data.x, data.y)

    best = max(_LINEAR[row.label], key=lambda model: score(model, "valid")["ndcg_at_100"])
    return score(best, "test")


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row."""
    tables.draw_bars(lines, "ndcg_at_100", "NDCG@100 of test users", figure)


def _ranked(scores: np.ndarray, x: np.ndarray, y: np.ndarray | None) -> tables.Numbers:
    """Returns the metric's numbers for any scores."""
    batch = types.Batch(*(jnp.asarray(array, jnp.float32) for array in (x, y)))
    x_hat = jnp.asarray(scores, jnp.float32)
    output = types.Output(x_hat=x_hat, codes=x_hat, pre=x_hat)
    sums = ranking.sums(batch, output, jnp.zeros(x.shape[1]))
    return ranking.finish({name: np.asarray(total, np.float64) for name, total in sums.items()})
