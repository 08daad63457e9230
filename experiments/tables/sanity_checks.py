"""What is explained and what is recovered: 3,200 features in 100 dimensions, twenty active.

A feature is recovered if some latent's decoder row has a cosine above 0.8 with it; MCC is the mean
|cosine| of latents and features matched one to one, and of random directions not 0. 20,000 test
examples, 5,000 for PCA, with the thresholds that training found; JumpReLU's are set to an L0 of 20
on held-out examples. Random directions have no codes here. A frozen decoder keeps its random rows.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, independent, world
from sae_jax.ops import dictionaries

TITLE = "Sanity checks: recovery of features that are all as frequent"
COLUMNS = {
    "recovered": "features recovered",
    "mcc": "MCC",
    "explained": "variance explained",
    "l0": "L0",
}
SIZE = (6.4, 3.2)
_CONFIG = "configs/papers/sanity_checks.py"
_PAPER = "arXiv 2602.14111"
_PCA, _ACTIVE = "PCA, 20 components", 20
_EXAMPLES = 5000  # For PCA.


def _trained(label: str, variant: str, recovered: float | None) -> tables.Row:
    return tables.Row(
        label,
        _CONFIG + variant,
        published={} if recovered is None else {"recovered": recovered},
        source="" if recovered is None else _PAPER,
    )


ROWS = (
    tables.Row("true features", seeds=(0,)),
    tables.Row(_PCA, seeds=(0,)),
    tables.Row("random directions"),
    _trained("TopK, frozen decoder", ":frozen", None),
    _trained("TopK", "", 0.999),
    _trained("BatchTopK", ":batch_topk", 3 / 3200),
    _trained("JumpReLU", ":jumprelu", 3 / 3200),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or those of a baseline."""
    if row.label == "true features":
        return {"recovered": 1, "mcc": 1, "explained": 1, "l0": _ACTIVE}
    if row.label == _PCA:
        return _of_components()
    if run is None:
        features = _world("test").features
        rows = baselines.random_directions(features.shape[1], len(features), seed).T
        return {
            "recovered": dictionaries.recovered(rows, features),
            "mcc": dictionaries.mcc(rows, features),
        }
    found = {name: run.results[f"test/{name}"] for name in ("recovered", "mcc", "l0")}
    return found | {"explained": 1 - run.results["test/fvu"]}


def _world(split: str) -> world.World:
    return independent.load(
        split, n_features=3200, d_in=100, active=float(_ACTIVE), strength="lognormal"
    )


def _of_components() -> tables.Numbers:
    data = _world("test")
    batch = base.first(data, _EXAMPLES)
    train = np.asarray(base.first(_world("train"), _EXAMPLES).x)
    coded = baselines.components(train, np.asarray(batch.x), _ACTIVE)
    found = baselines.scores(data, batch, coded, ("fvu", "l0", "dictionary"))
    return {name: found[name] for name in ("recovered", "mcc", "l0")} | {
        "explained": 1 - found["fvu"]
    }


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the share of features that is recovered."""
    tables.draw_bars(lines, "recovered", COLUMNS["recovered"], figure)
