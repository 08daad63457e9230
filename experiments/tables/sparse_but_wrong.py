"""What too few or too many latents do to a dictionary: fifty features, of which eleven fire.

Trained on 15 million examples of the world `sparse_but_wrong`; 100,000 others are measured, with
the threshold that calibration found. The true dictionary knows features and codes, and keeps the k
largest for each example on average. MCC is the mean |cosine| of latents and features
matched one to one, c_dec that of two decoder rows: no one who looks for the right k knows the
first, everyone can compute the second. Of the true features and of PCA 20,000 examples are
measured; components are always active, and their MCC is over eleven features. A frozen decoder
keeps its random rows.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, sparse_but_wrong
from sae_jax.ops import dictionaries

TITLE = "Sparse but Wrong: a dictionary against k"
COLUMNS = {
    "mse": "squared error",
    "mse_true": "of the true dictionary",
    "c_dec": "c_dec",
    "mcc": "MCC",
    "f1": "F1",
}
SIZE = (8.4, 3.2)
_CONFIG = "configs/papers/sparse_but_wrong.py"
_PAPER = "Chanin & Garriga-Alonso 2025, arXiv 2508.16560"
_KS = (5, 7, 9, 11, 13, 15, 18)
_PUBLISHED = {5: {"mse": 2.73, "mse_true": 4.88}}
_RANDOM, _ORACLE, _PCA = "random directions", "true features", "PCA, 11 components"
_EXAMPLES = 20_000  # Of a baseline.
_L0 = 11


def _trained(k: int) -> tables.Row:
    published = _PUBLISHED.get(k, {})
    return tables.Row(
        f"k = {k}",
        _CONFIG,
        {} if k == 11 else {"model.activation.k": float(k)},
        published=published,
        source=_PAPER if published else "",
    )


ROWS = (
    tables.Row(_ORACLE, seeds=(0,)),
    tables.Row(_PCA, seeds=(0,)),
    tables.Row(_RANDOM),
    tables.Row("frozen decoder, k = 11", f"{_CONFIG}:frozen"),
    *(_trained(k) for k in _KS),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, and the error of the true dictionary."""
    if run is None and row.label != _RANDOM:
        return _of_baseline(row.label)
    if run is None:
        features = sparse_but_wrong.load("test").features
        rows = np.random.RandomState(seed).standard_normal(features.shape)
        return {"c_dec": dictionaries.c_dec(rows), "mcc": dictionaries.mcc(rows, features)}
    found = {name: run.results[f"test/{name}"] for name in ("c_dec", "mcc", "f1")}
    data = run.task.evaluations["test"].data
    k = run.task.method.model.activation.k
    return found | {"mse": run.results["test/mse_sum"], "mse_true": true_error(data, k)}


def _of_baseline(label: str) -> tables.Numbers:
    data = sparse_but_wrong.load("test")
    train = base.first(sparse_but_wrong.load("train"), _EXAMPLES)
    batch = base.first(data, _EXAMPLES)
    if label == _ORACLE:
        codes = [np.asarray(each.truth) for each in (train, batch)]
        seen = (codes[0], np.asarray(train.x))
        coded = baselines.oracle(data.features, seen, codes[1], len(data.features))
    else:
        coded = baselines.components(np.asarray(train.x), np.asarray(batch.x), _L0)
    found = baselines.scores(data, batch, coded, ("mse", "dictionary", "support"))
    return {"mse": found["mse_sum"]} | {name: found[name] for name in ("c_dec", "mcc", "f1")}


def true_error(data: base.Dataset, k: float) -> float:
    """Returns what the true features leave with the k largest codes for each example on average."""
    codes = np.asarray(base.first(data, data.length).truth)
    order = np.sort(codes.ravel())
    return float((order[: -round(k * len(codes))] ** 2).sum() / len(codes))


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws error, c_dec and MCC against k, with the true L0."""
    left, middle, right = figure.subplots(1, 3)
    shown = [line for line in lines if line.row.label.startswith("k = ")]
    ks = [float(line.row.label.removeprefix("k = ")) for line in shown]
    l0 = float(sparse_but_wrong.probabilities(sparse_but_wrong.N_FEATURES).sum())
    for axis, columns in ((left, ("mse", "mse_true")), (middle, ("c_dec",)), (right, ("mcc",))):
        for column in columns:
            stats = [line.stats[column] for line in shown]
            axis.errorbar(
                ks,
                [stat.mean for stat in stats],
                [stat.sd or 0 for stat in stats],
                marker=".",
                capsize=3,
                label=COLUMNS[column],
            )
        axis.axvline(l0, color="0.6", linewidth=1, linestyle="--")
        axis.set_xlabel("k")
        axis.set_title(COLUMNS[columns[0]], fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=8, frameon=False)
