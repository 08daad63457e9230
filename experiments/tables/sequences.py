"""Mean squared error of predicted numbers: the next points of a series, the next frames of films.

Arterial pressure: 64 standardised points are seen, 16 predicted; the series is cut in time, its
last fifth is for test. Films: two digits of 14 x 14 pixels bounce in 32 x 32, ten frames are seen,
ten predicted; 1,000 films of test digits. Learning rates and sizes were chosen on splits of their
own. Linear: ridge regression of what follows on the first components (PCA) of what is seen, as many
as the code has numbers.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np
from sklearn import decomposition

from experiments import tables
from sae_jax.data import base, moving_digits, ucr_forecast

TITLE = "Predicting what follows"
COLUMNS = {"series": "series", "films": "films"}
SIZE = (9.0, 3.0)
_SERIES, _FILMS = "configs/forecast.py", "configs/moving_digits.py"
_CODE = {"series": 16, "films": 256}
ROWS = (
    tables.Row("last step repeated", seeds=(0,)),
    tables.Row("mean of what follows", seeds=(0,)),
    tables.Row("linear, on PCA", seeds=(0,)),
    tables.Row("series: mlp", f"{_SERIES}:mlp"),
    tables.Row("series: GRU", _SERIES),
    tables.Row("series: LSTM", _SERIES, {"model.cell": "lstm"}),
    tables.Row("films: GRU", _FILMS),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the error on the test split, of a run or, of a baseline, for both data sets."""
    del seed
    if run is not None:
        column = "films" if row.config == _FILMS else "series"
        return {column: run.results["test/prediction_mse"]}
    splits = {
        "series": [ucr_forecast.load(split) for split in ("train", "test")],
        "films": [moving_digits.load(split) for split in ("train[:4000]", "test[:1000]")],
    }
    return {
        column: _baseline(row.label, _CODE[column], *(_cut(data) for data in pair))
        for column, pair in splits.items()
    }


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a panel for each data set, a bar for each row."""
    for axis, column in zip(figure.subplots(1, len(COLUMNS)), COLUMNS, strict=True):
        shown = [line for line in lines if column in line.stats]
        means = [line.stats[column].mean for line in shown]
        axis.barh(range(len(shown)), means, xerr=[line.stats[column].sd or 0 for line in shown])
        for place, mean in enumerate(means):
            axis.annotate(f" {mean:.3g}", (mean, place), va="center", fontsize=8)
        axis.set_yticks(range(len(shown)), [line.row.label for line in shown], fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        if max(means) > 20 * min(means):
            axis.set_xscale("log")
        axis.set_xlabel(f"{column}: squared error of a predicted number", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)


def _cut(data: base.Arrays) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns what is seen, `[n, d_in]`, what follows, `[n, d_out - d_in]`, and a step's width."""
    batch = base.first(data, data.length)
    assert data.spec.grid is not None
    width = int(np.prod(data.spec.grid[1:]))
    return np.asarray(batch.x), np.asarray(batch.target[:, data.spec.d_in :]), width


def _baseline(
    label: str,
    k: int,
    train: tuple[np.ndarray, np.ndarray, int],
    test: tuple[np.ndarray, np.ndarray, int],
) -> float:
    """Returns the mean squared error of a baseline."""
    (x, y, _), (x_test, y_test, width) = train, test
    if label == "last step repeated":
        predicted = np.tile(x_test[:, -width:], (1, y_test.shape[1] // width))
    elif label == "mean of what follows":
        predicted = y.mean(axis=0)
    else:
        # Films have more numbers than there are films: no covariance of pixels is taken.
        pca = decomposition.PCA(k, svd_solver="randomized", random_state=0).fit(x)
        codes, codes_test = pca.transform(x), pca.transform(x_test)
        gram = codes.T @ codes + 1e-3 * len(codes) * np.eye(k)
        w = np.linalg.solve(gram, codes.T @ (y - y.mean(axis=0)))
        predicted = y.mean(axis=0) + codes_test @ w
    return float(((y_test - predicted) ** 2).mean())
