"""Squared error per test image, summed over pixels in [0, 1], of codes of 30 numbers on MNIST.

Trained on the 60,000 training images, measured on the 10,000 test images. Learning rate, units and
length of the runs were chosen on the last 10,000 training images.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import tables
from experiments.tables import baselines

TITLE = "Deep autoencoders, 784-1000-500-250-30"
COLUMNS = {"mse_sum": "error per image", "fvu": "FVU"}
SIZE = (7.0, 3.2)
_CODE = 30
_HINTON = "Hinton & Salakhutdinov 2006, Fig. 3"
ROWS = (
    tables.Row("mean image", seeds=(0,)),
    tables.Row("random projection"),
    tables.Row("PCA", seeds=(0,), published={"mse_sum": 13.87}, source=_HINTON),
    tables.Row(
        "linear code, logistic output",
        "configs/deep_mnist.py:logistic_pca",
        published={"mse_sum": 8.01},
        source=_HINTON,
        differs='their "logistic PCA" is not described further; here Adam, 20 epochs',
    ),
    tables.Row("deep, SiLU, 20 epochs", "configs/deep_mnist.py"),
    tables.Row(
        "deep, SiLU, 60 epochs",
        "configs/deep_mnist.py:long",
        published={"mse_sum": 3.00},
        source=_HINTON,
        differs="SiLU and Adam from scratch; theirs logistic, RBM pretraining, conjugate gradients",
    ),
    tables.Row("deep, logistic, from scratch, 40 epochs", "configs/deep_mnist.py:logistic"),
    tables.Row("deep, logistic, layer by layer first", "configs/deep_mnist.py:layerwise"),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns error and FVU on the test images."""
    if run is not None:
        return {name: run.results[f"test/{name}"] for name in COLUMNS}
    train, test = (baselines.pixels("mnist", split) for split in ("train", "test"))
    x_hat = {
        "mean image": lambda: train.mean(axis=0)[None],
        "random projection": lambda: baselines.projected_at_random(train, test, _CODE, seed),
        "PCA": lambda: baselines.projected(train, test, _CODE),
    }[row.label]()
    error = ((test - x_hat) ** 2).sum(axis=1).mean()
    return {"mse_sum": error, "fvu": error / test.var(axis=0).sum()}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row, and a mark where something is published."""
    tables.draw_bars(lines, "mse_sum", "squared error per test image", figure)
