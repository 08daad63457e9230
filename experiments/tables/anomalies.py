"""Anomalies among sensor readings, heart beats and solar cells: AUROC and average precision, in %.

Everything learns from normal examples alone. A seed is an initial state and, but for the series,
a random split of the normal examples; what share of the test data is anomalous, and so the average
precision of guessing, is 28 % (shuttle), 1.2 % (pressure) and over 70 % (cells). Autoencoders were
chosen on made-up anomalies: normal held-out readings with each column shuffled, windows with a
piece from elsewhere, cells with a dark patch or line. PCA stands there with the components that
the autoencoder has latents, and with fewer or more.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np
from sklearn import ensemble

from experiments import build, tables
from experiments.detection import normal
from experiments.tables import baselines
from sae_jax.analysis import novelty

TITLE = "Anomalies in tables, series and pictures"
COLUMNS = {"auroc": "AUROC, %", "ap": "average precision, %"}
SIZE = (7.0, 5.2)
# Data set: the config whose data it is, arguments of the data, components of PCA.
_SETS: dict[str, tuple[str, str, dict[str, str], tuple[int, int]]] = {
    "shuttle": ("configs/shuttle.py", "shuttle", {}, (2, 6)),
    "pressure": ("configs/ucr_anomaly.py", "ucr_anomaly", {}, (8, 32)),
    "cells": ("configs/elpv.py", "elpv", {"cell": "mono"}, (8, 128)),
}


def _rows(name: str) -> list[tables.Row]:
    """Returns the baselines of a data set and the autoencoder by each score."""
    config, _, _, ks = _SETS[name]
    seeds = (0, 1, 2) if name != "pressure" else (0,)
    return [
        *(tables.Row(f"{name}: PCA-{k}, residual", seeds=seeds) for k in ks),
        tables.Row(f"{name}: random projection-{max(ks)}, residual"),
        tables.Row(f"{name}: isolation forest"),
        *(tables.Row(f"{name}: autoencoder, {kind}", config) for kind in novelty.KINDS),
    ]


ROWS = tuple(row for name in _SETS for row in _rows(name))


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns AUROC and average precision of a row's scores of the test examples."""
    scores, anomalous = _baseline(row, seed) if run is None else _scored(row, run)
    return {name: 100 * value for name, value in novelty.separation(scores, anomalous).items()}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row."""
    tables.draw_bars(lines, "auroc", "AUROC, %", figure)
    figure.axes[0].set_xlim(60, 103)


def _scored(row: tables.Row, run: tables.Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns a run's scores of the test examples, and which are anomalies."""
    found = normal.judged(run.task)
    assert found is not None
    data, anomalous = found
    known = normal.fit(run.task, run.state, run.evaluator)
    return known.scorer(known.encode(data))[row.label.rpartition(" ")[2]], anomalous


def _baseline(row: tables.Row, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of a projection or of an isolation forest (Liu, Ting & Zhou 2008)."""
    name, _, method = row.label.partition(": ")
    _, module, arguments, _ = _SETS[name]
    folds = {} if name == "pressure" else {"fold": seed}
    train, test = (
        build.data({"name": module, "split": split, **arguments, **folds})
        for split in ("train", "test")
    )
    known, x = baselines.decoded(train), baselines.decoded(test)
    assert test.label is not None
    if method == "isolation forest":
        scores = -ensemble.IsolationForest(random_state=seed).fit(known).score_samples(x)
        return scores, test.label == 1
    k = int(method.partition("-")[2].partition(",")[0])
    if method.startswith("PCA"):
        x_hat = baselines.projected(known, x, k)
    else:
        x_hat = baselines.projected_at_random(known, x, k, seed)
    return novelty.residual(novelty.Encoded(x, x_hat, x)), test.label == 1
