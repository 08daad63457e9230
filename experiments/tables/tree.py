"""Whether children absorb their parent: a plain sparse autoencoder and a Matryoshka one on a tree.

Recall: of the latent nearest to a parent, in test examples where one of the parent's children is
active, and where none is. MCC is the mean |cosine| of latents and features matched one to one. Two
dictionaries need no training: the true one, and one whose children's latents write their parent
too, which has fewer active latents and no error. The first principal component is always active,
so that its recall would say nothing, nor does its one cosine; of random directions the largest
projection is kept. 20,000 examples of these two are measured. A frozen decoder keeps its random
rows.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, tree
from sae_jax.ops import dictionaries

TITLE = "A tree of features: absorption"
COLUMNS = {
    "parent_recall": "recall of a parent, with a child",
    "parent_recall_alone": "without a child",
    "mcc": "MCC",
    "l0": "L0",
    "fvu": "FVU",
}
SIZE = (6.4, 3.2)
_CONFIG = "configs/papers/tree.py"
_L0, _ABSORBED_L0 = 1.12, 0.85
_PCA, _RANDOM = "PCA, 1 component", "random directions"
_EXAMPLES = 20_000  # Of a baseline.

ROWS = (
    tables.Row("true features", seeds=(0,)),
    tables.Row("children that write their parent", seeds=(0,)),
    tables.Row(_PCA, seeds=(0,)),
    tables.Row(_RANDOM),
    tables.Row("random prefixes, frozen decoder", f"{_CONFIG}:frozen"),
    tables.Row("ReLU + L1", f"{_CONFIG}:l1"),
    tables.Row("Matryoshka, random prefixes", _CONFIG),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or what is known of a dictionary."""
    if run is not None:
        return {column: run.results[f"test/{column}"] for column in COLUMNS}
    if row.label == "true features":
        return dict(parent_recall=1, parent_recall_alone=1, mcc=1, l0=_L0, fvu=0)
    if row.label in (_PCA, _RANDOM):
        return _of_baseline(row.label, seed)
    features = tree.load("test").features
    mcc = dictionaries.mcc(absorbed(features), features)
    return dict(parent_recall=0, parent_recall_alone=1, mcc=mcc, l0=_ABSORBED_L0, fvu=0)


def _of_baseline(label: str, seed: int) -> tables.Numbers:
    data = tree.load("test")
    batch = base.first(data, _EXAMPLES)
    train, x = (np.asarray(each.x) for each in (base.first(tree.load("train"), _EXAMPLES), batch))
    if label == _PCA:
        coded = baselines.components(train, x, 1)
        return baselines.scores(data, batch, coded, ("fvu", "l0"))
    coded = baselines.largest_projections(train, x, len(data.features), 1, seed)
    metrics = ("fvu", "l0", "dictionary", "hierarchy")
    found = baselines.scores(data, batch, coded, metrics)
    return {name: found[name] for name in COLUMNS}


def absorbed(features: np.ndarray) -> np.ndarray:
    """Returns features `[20, d]` whose children have their parent added."""
    has = (tree.PARENTS >= 0)[:, None]
    return features + np.where(has, features[tree.PARENTS], 0)


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the recall of parents where a child is active."""
    tables.draw_bars(lines, "parent_recall", COLUMNS["parent_recall"], figure)
