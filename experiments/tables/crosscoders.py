"""Which features are exclusive to one of two sites: what crosscoders say, and what is true.

50 features are shared, some of them weak at one site, and 10 are exclusive to each; 96 latents;
20,000 examples are measured. A latent is exclusive if more than 0.9 of its summed decoder norms lie
at one site, and spurious if the feature it stands for is not. An L1 penalty on the sum of the norms
of the sites takes away what is weak; BatchTopK, and L1 on the norm of the whole row, do not. MCC is
the mean |cosine| of latents and features matched one to one; of PCA it is over four features. Of
random directions the four largest projections are kept; a frozen decoder keeps its random rows,
which are as long at one site as at the other.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, sites
from sae_jax.metrics import exclusive

TITLE = "Crosscoders: shared and exclusive latents of two sites"
COLUMNS = {
    "fvu": "FVU",
    "l0": "L0",
    "exclusive": "exclusive latents, %",
    "spurious": "of these spurious, %",
    "found": "exclusive features found, %",
    "mcc": "MCC",
}
SIZE = (8.4, 3.4)
_CONFIG = "configs/papers/crosscoder.py"
_PCA, _RANDOM = "PCA, 4 components", "random directions"
_EXAMPLES, _D_SAE, _K = 20_000, 96, 4
ROWS = (
    tables.Row("the true features", seeds=(0,)),
    tables.Row(_PCA, seeds=(0,)),
    tables.Row(_RANDOM),
    tables.Row("BatchTopK, k = 4.2, frozen decoder", f"{_CONFIG}:frozen"),
    tables.Row("L1, sum of norms", f"{_CONFIG}:l1"),
    tables.Row("L1, norm of the whole", f"{_CONFIG}:l1", {"model.norm": "whole"}),
    tables.Row("BatchTopK, k = 4.2", _CONFIG),
    tables.Row("BatchTopK, k = 7", _CONFIG, {"model.activation.k": 7.0}),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or those of a baseline."""
    if row.label in (_PCA, _RANDOM):
        return _of_baseline(row.label, seed)
    if run is None:
        data = sites.load("test")
        share = exclusive.shares(data.features, data.spec.grid or ()).max(axis=1)
        return {"exclusive": 100 * float(np.mean(share > exclusive.EXCLUSIVE))}
    return _columns({key.removeprefix("test/"): value for key, value in run.results.items()})


def _of_baseline(label: str, seed: int) -> tables.Numbers:
    data = sites.load("test")
    batch = base.first(data, _EXAMPLES)
    train, x = (np.asarray(each.x) for each in (base.first(sites.load("train"), _EXAMPLES), batch))
    if label == _PCA:
        coded = baselines.components(train, x, _K)
    else:
        coded = baselines.largest_projections(train, x, _D_SAE, _K, seed)
    metrics = ("fvu", "l0", "dictionary", "exclusive")
    return _columns(baselines.scores(data, batch, coded, metrics))


def _columns(results: tables.Numbers) -> tables.Numbers:
    found = {name: results[name] for name in ("fvu", "l0", "mcc")}
    percent = {"exclusive": "exclusive", "spurious": "spurious", "found": "exclusive_found"}
    return found | {name: 100 * results[key] for name, key in percent.items()}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws how many exclusive latents are spurious."""
    tables.draw_bars(lines, "spurious", "spurious exclusive latents, %", figure)
