"""Error of predicted ratings of MovieLens-100k, in stars: 10,000 test ratings, chosen at random.

A seed is a random split of the 100,000 ratings, 10 % for test and 5 % of the others for model
selection, and an initial state. Penalties, widths and length of the runs were chosen on the latter,
for biases and factors anew in each split. Predictions are clipped to 1..5.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from sae_jax.analysis import ratings
from sae_jax.data import movielens

TITLE = "Rating prediction, MovieLens-100k"
COLUMNS = {"rmse": "RMSE", "mae": "MAE"}
SIZE = (7.0, 3.0)
ROWS = (
    tables.Row("mean of all ratings"),
    tables.Row("mean of the film"),
    tables.Row("biases of user and film"),
    tables.Row(
        "biases + 10 factors (ALS)", differs="what PCA is for a table with gaps: Zhou et al. 2008"
    ),
    tables.Row("AutoRec, by user", "configs/movielens.py:users"),
    tables.Row("AutoRec, by film", "configs/movielens.py"),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the errors on the test ratings."""
    if run is not None:
        return {name: run.results[f"test/{name}"] for name in COLUMNS}
    x = movielens.load("train", fold=seed).x.astype(np.float64)
    candidates = {
        "mean of all ratings": lambda: [ratings.global_mean(x)],
        "mean of the film": lambda: [ratings.column_means(x)],
        "biases of user and film": lambda: [ratings.biases(x, p) for p in (1, 2, 3, 5, 8)],
        "biases + 10 factors (ALS)": lambda: [
            ratings.factors(x, ratings.biases(x, 3), 10, p) for p in (0.1, 0.15, 0.2)
        ],
    }[row.label]()
    valid, test = (movielens.load(split, fold=seed).y for split in ("valid", "test"))
    return _errors(min(candidates, key=lambda x_hat: _errors(x_hat, valid)["rmse"]), test)


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row."""
    tables.draw_bars(lines, "rmse", "root mean squared error of a test rating, in stars", figure)
    figure.axes[0].set_xlim(left=0.85)


def _errors(x_hat: np.ndarray, y: np.ndarray | None) -> tables.Numbers:
    """Returns the errors where `y` is a rating, as the metric `rating_error` counts."""
    assert y is not None
    error = (np.clip(x_hat, 1, 5) - y)[y != 0]
    return {"rmse": float((error**2).mean() ** 0.5), "mae": float(np.abs(error).mean())}
