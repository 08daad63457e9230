"""Whether children absorb their parent: a plain sparse autoencoder and a Matryoshka one on a tree.

Recall: of the latent nearest to a parent, in test examples where one of the parent's children is
active, and where none is. MCC is the mean |cosine| of latents and features matched one to one. Two
dictionaries need no training: the true one, and one whose children's latents write their parent
too, which has fewer active latents and no error.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from sae_jax.data import tree
from sae_jax.ops import dictionaries

TITLE = "A tree of features: absorption"
COLUMNS = {
    "parent_recall": "recall of a parent, with a child",
    "parent_recall_alone": "without a child",
    "mcc": "MCC",
    "l0": "L0",
    "fvu": "FVU",
}
SIZE = (6.4, 2.6)
_CONFIG = "configs/papers/tree.py"
_L0, _ABSORBED_L0 = 1.12, 0.85

ROWS = (
    tables.Row("true features", seeds=(0,)),
    tables.Row("children that write their parent", seeds=(0,)),
    tables.Row("ReLU + L1", f"{_CONFIG}:l1"),
    tables.Row("Matryoshka, random prefixes", _CONFIG),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or what is known of a dictionary."""
    del seed
    if run is not None:
        return {column: run.results[f"test/{column}"] for column in COLUMNS}
    if row.label == "true features":
        return dict(parent_recall=1, parent_recall_alone=1, mcc=1, l0=_L0, fvu=0)
    features = tree.load("test").features
    mcc = dictionaries.mcc(absorbed(features), features)
    return dict(parent_recall=0, parent_recall_alone=1, mcc=mcc, l0=_ABSORBED_L0, fvu=0)


def absorbed(features: np.ndarray) -> np.ndarray:
    """Returns features `[20, d]` whose children have their parent added."""
    has = (tree.PARENTS >= 0)[:, None]
    return features + np.where(has, features[tree.PARENTS], 0)


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the recall of parents where a child is active."""
    tables.draw_bars(lines, "parent_recall", COLUMNS["parent_recall"], figure)
