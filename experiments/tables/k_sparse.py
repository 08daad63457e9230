"""Logistic regression on k-sparse codes of MNIST: test error in %, against k.

1,000 latents are trained on the 60,000 training images without labels; codes keep the 3 k largest.
The C of the regression (10, 30 or 100) is chosen on the last 10,000 training images, as length of
the runs, learning rate and the 3 were; then it is fitted to all 60,000. Random features are
`relu((x - mean) w)` with 1,000 random directions w; untrained are the 75 largest of `x w`.
"""

from collections.abc import Sequence
import dataclasses

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax.analysis import probe
from sae_jax.data import base, mnist
from sae_jax.train import evaluate

TITLE = "k-sparse autoencoders and logistic regression on MNIST"
COLUMNS = {"error": "test error, %", "fvu": "FVU of k latents"}
SIZE = (7.0, 3.6)
_PAPER = "Makhzani & Frey 2013, Table 1"
_D_SAE, _K = 1000, 25  # Of the baselines.
_ALPHA = 3.0
_C = (10.0, 30.0, 100.0)
_VALIDATION = 10_000


def _trained(k: int, published: float | None = None) -> tables.Row:
    return tables.Row(
        f"k = {k}",
        "configs/k_sparse_mnist.py" + ("" if k == _K else f":{k}"),
        published={"error": published} if published else {},
        source=_PAPER if published else "",
        differs="Adam, 25 epochs; theirs SGD with momentum" if published else "",
    )


ROWS = (
    tables.Row("raw pixels", seeds=(0,), published={"error": 7.20}, source=_PAPER),
    tables.Row("PCA, 100 components", seeds=(0,)),
    tables.Row("random features"),
    tables.Row("untrained, k = 25"),
    _trained(10, 2.10),
    _trained(25, 1.35),
    _trained(40, 1.54),
    _trained(70),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the error of the regression on the test images and, of a run, the FVU there."""
    data = [mnist.load(split) for split in ("train", "test")]
    if run is not None:
        codes = [_encoded(run, part) for part in data]
    else:
        codes = _baseline(row.label, [*map(baselines.decoded, data)], seed)
    train, test = map(probe.of, codes, data)
    error = probe.logistic_regression(train, test, _VALIDATION, _C).error
    return {"error": error} | ({} if run is None else {"fvu": run.results["test/fvu"]})


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row, and a mark where something is published."""
    tables.draw_bars(lines, "error", "test error, %", figure)


def _encoded(run: tables.Run, data: base.Arrays) -> np.ndarray:
    """Returns the codes of a data set, of which alpha k are kept."""
    model = run.task.method.model
    model = model.clone(activation=model.activation.clone(alpha=_ALPHA))
    method = dataclasses.replace(run.task.method, model=model)
    return evaluate.Evaluator(method, run.task.mesh).encoded(run.state, data)[0]


def _baseline(label: str, splits: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Returns the codes of each split that need no training."""
    if not label.startswith("untrained"):
        return baselines.features(label, splits, _D_SAE, seed)
    w = baselines.random_directions(splits[0].shape[1], _D_SAE, seed)
    return [_largest(x @ w, round(_ALPHA * _K)) for x in splits]


def _largest(pre: np.ndarray, k: int) -> np.ndarray:
    """Returns the k largest of each row in their places, zeros elsewhere."""
    return np.where(pre >= np.partition(pre, -k, axis=1)[:, [-k]], pre, np.float32(0))
