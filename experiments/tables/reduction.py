"""Codes of equal size: what is lost of a picture, and what they still tell of its class.

30 numbers for pictures of MNIST and Fashion-MNIST, 12 for the digits of 8 x 8 pixels. Error is
squared and summed over pixels, per test picture; the probe is logistic regression on the codes (C
of 10, 100 and 1,000 chosen on the last sixth of the training examples), its error in %. In the last
column the encoder stays as one data set made it, and the probe learns and is tested on the other.
"""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import build, tables
from experiments.tables import baselines
from sae_jax.analysis import probe
from sae_jax.data import base

TITLE = "Principal components and undercomplete autoencoders"
COLUMNS = {
    "mse_sum": "error per picture",
    "probe": "probe error, %",
    "transfer": "probe error on the other set, %",
}
SIZE = (10.0, 4.2)
_SIZES = {"MNIST": 30, "Fashion-MNIST": 30, "digits": 12}
_NAMES = {"MNIST": "mnist", "Fashion-MNIST": "fashion_mnist", "digits": "digits"}
_OTHER = {"MNIST": "Fashion-MNIST", "Fashion-MNIST": "MNIST"}
_C = (10.0, 100.0, 1000.0)
_ONE, _DEEP = "configs/undercomplete.py", "configs/deep_mnist.py"
_TRAINED: dict[str, Sequence[tuple[str, dict[str, str]]]] = {
    "MNIST": ((f"{_ONE}:mnist", {}), (_DEEP, {})),
    "Fashion-MNIST": ((f"{_ONE}:fashion", {}), (_DEEP, {"data.name": "fashion_mnist"})),
    "digits": ((_ONE, {}), (f"{_ONE}:deep", {})),
}
Encode = Callable[[base.Arrays], tuple[np.ndarray, np.ndarray | None]]


def _rows(name: str) -> list[tables.Row]:
    one, deep = _TRAINED[name]
    return [
        tables.Row(f"{name}: raw pixels", seeds=(0,)),
        tables.Row(f"{name}: random directions"),
        tables.Row(f"{name}: PCA", seeds=(0,)),
        tables.Row(f"{name}: one sigmoid layer", *one),
        tables.Row(f"{name}: deep", *deep),
    ]


ROWS = tuple(row for name in _SIZES for row in _rows(name))


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the reconstruction error, and errors of probes on this and on the other data set."""
    name, _, kind = row.label.partition(": ")
    train, test = _load(name)
    if run is not None:
        encode: Encode = lambda data: run.evaluator.encoded(run.state, data)  # noqa: E731
    else:
        encode = _baseline(kind, baselines.decoded(train), _SIZES[name], seed)
    found = {"probe": _probe(encode, train, test)}
    x_hat = encode(test)[1]
    if x_hat is not None:
        found["mse_sum"] = ((baselines.decoded(test) - x_hat) ** 2).sum(axis=1).mean()
    if name in _OTHER:
        found["transfer"] = _probe(encode, *_load(_OTHER[name]))
    return found


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a panel for each column, a bar for each row."""
    for axis, (column, head) in zip(figure.subplots(1, 3), COLUMNS.items(), strict=True):
        for place, line in enumerate(lines):
            if column in line.stats:
                stat = line.stats[column]
                axis.barh(place, stat.mean, xerr=stat.sd, color="#4c72b0", height=0.6)
                axis.annotate(f" {stat.mean:.3g}", (stat.mean, place), va="center", fontsize=7)
        labels = [line.row.label for line in lines] if axis.get_subplotspec().is_first_col() else []
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.margins(x=0.16)
        axis.set_xlabel(head)
        axis.spines[["top", "right"]].set_visible(False)


def _load(name: str) -> tuple[base.Arrays, base.Arrays]:
    data = [build.data(dict(name=_NAMES[name], split=split)) for split in ("train", "test")]
    return data[0], data[1]


def _probe(encode: Encode, train: base.Arrays, test: base.Arrays) -> float:
    known, new = (probe.of(encode(data)[0], data) for data in (train, test))
    return probe.logistic_regression(known, new, train.length // 6, _C).error


def _baseline(kind: str, train: np.ndarray, size: int, seed: int) -> Encode:
    """Returns an encoder that needs no gradients; of pixels there is nothing to reconstruct."""
    if kind == "PCA":
        fitted = baselines.pca(train, size)

        def principal(data: base.Arrays) -> tuple[np.ndarray, np.ndarray | None]:
            codes = fitted.transform(baselines.decoded(data))
            return codes, fitted.inverse_transform(codes)

        return principal
    if kind == "raw pixels":
        return lambda data: (baselines.decoded(data), None)
    w = baselines.random_directions(train.shape[1], size, seed)
    return lambda data: (baselines.decoded(data) @ w, None)
