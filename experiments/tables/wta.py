"""A linear SVM on winner-take-all codes of MNIST: test error in %.

Trained on the 60,000 training images without labels. The C of the SVM (0.3, 1 or 3; squared hinge,
one class against the rest) is chosen on the last 10,000 training images, as length of the runs,
learning rate and shares were; then it is fitted to all 60,000. Random features are
`relu((x - mean) w)` with 2,000 random directions w.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import tables
from experiments.tables import baselines
from sae_jax.analysis import probe
from sae_jax.data import mnist

TITLE = "Winner-take-all autoencoders and linear SVMs on MNIST"
COLUMNS = {"error": "test error, %", "active": "latents active, %"}
SIZE = (7.0, 2.8)
_PAPER = "Makhzani & Frey 2015, Table 1"
_D_SAE = 2000  # Of random features.
_C = (0.3, 1.0, 3.0)
_VALIDATION = 10_000
ROWS = (
    tables.Row("raw pixels", seeds=(0,)),
    tables.Row("PCA, 100 components", seeds=(0,)),
    tables.Row("random features"),
    tables.Row(
        "FC-WTA, 2,000 latents",
        "configs/wta_mnist.py",
        published={"error": 1.20},
        source=_PAPER,
        differs="Adam, 15 epochs",
    ),
    tables.Row(
        "CONV-WTA, 16 maps",
        "configs/conv_wta_mnist.py",
        published={"error": 1.02},
        source=_PAPER,
        differs="Adam, 30 epochs",
    ),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the error of the SVM on the test images, and how many latents are active there."""
    data = [mnist.load(split) for split in ("train", "test")]
    if run is None:
        codes = baselines.features(row.label, [*map(baselines.decoded, data)], _D_SAE, seed)
    else:
        codes = [run.evaluator.encoded(run.state, part)[0] for part in data]
    train, test = map(probe.of, codes, data)
    error = probe.linear_svm(train, test, _VALIDATION, _C).error
    return {"error": error, "active": 100 * float((codes[1] != 0).mean())}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each row, and a mark where something is published."""
    tables.draw_bars(lines, "error", "test error, %", figure)
