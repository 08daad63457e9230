"""AUROC of one-class MNIST, in %: one digit is normal, the others are anomalies, all ten in turn.

Trained on the digit's images among the first 50,000 training images; its other training images
calibrate where two scores are added. Baselines have all training images of the digit, as the
published numbers have. All 10,000 test images are scored. Hyper-parameters were chosen by the AUROC
of the last 10,000 training images, anomalies among them, never of a test image.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.detection import normal
from experiments.tables import baselines
from sae_jax.analysis import novelty
from sae_jax.data import one_class_mnist

TITLE = "One-class MNIST"
DIGITS = range(10)
COLUMNS = {str(digit): str(digit) for digit in DIGITS} | {"mean": "mean AUROC, %"}
SIZE = (7.0, 3.4)
_RUFF = "Ruff et al. 2018, Table 1"
_PARTS = tuple({"data.digit": digit} for digit in DIGITS)


def _trained(kind: str) -> tables.Row:
    return tables.Row(f"denoising autoencoder, {kind}", "configs/one_class_mnist.py", parts=_PARTS)


ROWS = (
    tables.Row("distance to the mean image", seeds=(0,)),
    tables.Row("random projection-32, residual"),
    *(tables.Row(f"PCA-{k}, residual", seeds=(0,)) for k in (8, 16, 32, 64)),
    *map(_trained, novelty.KINDS),
    tables.Row(
        "convolutional autoencoder (DCAE)",
        published={"mean": 89.65},
        source=_RUFF,
        differs="theirs alone; 0 to 9: 97.6 98.3 85.4 86.7 86.5 78.2 94.6 92.3 86.5 90.4",
    ),
    tables.Row(
        "Deep SVDD",
        published={"mean": 94.80},
        source=_RUFF,
        differs="theirs alone; 0 to 9: 98.0 99.7 91.7 91.9 94.9 88.5 98.3 94.6 93.9 96.5",
    ),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the AUROC of each digit and the mean of all; of a run, of its digit alone."""
    if run is not None:
        known = normal.fit(run.task, run.state, run.evaluator)
        found = normal.judged(run.task)
        assert found is not None
        data, anomalous = found
        kind = row.label.rpartition(" ")[2]
        auroc = novelty.separation(known.scorer(known.encode(data))[kind], anomalous)["auroc"]
        return {str(row.overrides["data.digit"]): 100 * auroc}
    if row.published:
        return {}
    return join([{str(digit): 100 * _baseline(row.label, digit, seed)} for digit in DIGITS])


def join(found: Sequence[tables.Numbers]) -> tables.Numbers:
    """Returns the numbers of all digits and their mean."""
    numbers = {column: number for part in found for column, number in part.items()}
    return numbers | {"mean": float(np.mean(list(numbers.values())))}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row, and a mark where something is published."""
    tables.draw_bars(lines, "mean", "AUROC, mean over ten digits, %", figure)
    figure.axes[0].set_xlim(80, 101)


def _baseline(label: str, digit: int, seed: int) -> float:
    """Returns the AUROC of what PCA, a random projection or the mean image leaves."""
    parts = [one_class_mnist.load(split, digit) for split in ("train", "valid", "test")]
    train, valid, test = map(baselines.decoded, parts)
    known = np.concatenate([train, valid])
    if label.startswith("PCA"):
        x_hat = baselines.projected(known, test, _size(label))
    elif label.startswith("random"):
        x_hat = baselines.projected_at_random(known, test, _size(label), seed)
    else:
        x_hat = np.broadcast_to(known.mean(axis=0), test.shape)
    scores = novelty.residual(novelty.Encoded(test, x_hat, test))
    assert parts[2].label is not None
    return novelty.separation(scores, parts[2].label == 1)["auroc"]


def _size(label: str) -> int:
    """Returns the k of "PCA-k, residual"."""
    return int(label.partition("-")[2].partition(",")[0])
