"""What is explained and what is recovered: 3,200 features in 100 dimensions, twenty active.

A feature is recovered if some latent's decoder row has a cosine above 0.8 with it; MCC is the mean
|cosine| of latents and features matched one to one, and of random directions not 0. 20,000 test
examples, with the thresholds that training found. A frozen decoder keeps its random rows.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import independent
from sae_jax.ops import dictionaries

TITLE = "Sanity checks: recovery of features that are all as frequent"
COLUMNS = {
    "recovered": "features recovered",
    "mcc": "MCC",
    "explained": "variance explained",
    "l0": "L0",
}
SIZE = (6.4, 2.8)
_CONFIG = "configs/papers/sanity_checks.py"
_PAPER = "arXiv 2602.14111"


def _trained(label: str, variant: str, recovered: float | None) -> tables.Row:
    return tables.Row(
        label,
        _CONFIG + variant,
        published={} if recovered is None else {"recovered": recovered},
        source="" if recovered is None else _PAPER,
    )


ROWS = (
    tables.Row("random directions"),
    _trained("TopK, frozen decoder", ":frozen", None),
    _trained("TopK", "", 0.999),
    _trained("BatchTopK", ":batch_topk", 3 / 3200),
    _trained("JumpReLU", ":jumprelu", 3 / 3200),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or what random directions recover."""
    del row
    if run is None:
        features = independent.load("test", n_features=3200, d_in=100, active=20.0).features
        rows = baselines.random_directions(features.shape[1], len(features), seed).T
        return {
            "recovered": dictionaries.recovered(rows, features),
            "mcc": dictionaries.mcc(rows, features),
        }
    found = {name: run.results[f"test/{name}"] for name in ("recovered", "mcc", "l0")}
    return found | {"explained": 1 - run.results["test/fvu"]}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the share of features that is recovered."""
    tables.draw_bars(lines, "recovered", COLUMNS["recovered"], figure)
