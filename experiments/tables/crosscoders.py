"""Which features are exclusive to one of two sites: what crosscoders say, and what is true.

50 features are shared, some of them weak at one site, and 10 are exclusive to each; 96 latents;
20,000 examples are measured. A latent is exclusive if more than 0.9 of its summed decoder norms lie
at one site, and spurious if the feature it stands for is not. An L1 penalty on the sum of the norms
of the sites takes away what is weak; BatchTopK, and L1 on the norm of the whole row, do not.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from sae_jax.data import sites
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
SIZE = (8.4, 2.8)
_CONFIG = "configs/papers/crosscoder.py"
ROWS = (
    tables.Row("the true features", seeds=(0,)),
    tables.Row("L1, sum of norms", f"{_CONFIG}:l1"),
    tables.Row("L1, norm of the whole", f"{_CONFIG}:l1", {"model.norm": "whole"}),
    tables.Row("BatchTopK, k = 4.2", _CONFIG),
    tables.Row("BatchTopK, k = 7", _CONFIG, {"model.activation.k": 7.0}),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or what is true of the features."""
    del row, seed
    if run is None:
        data = sites.load("test")
        share = exclusive.shares(data.features, data.spec.grid or ()).max(axis=1)
        return {"exclusive": 100 * float(np.mean(share > exclusive.EXCLUSIVE))}
    found = {name: run.results[f"test/{name}"] for name in ("fvu", "l0", "mcc")}
    percent = {"exclusive": "exclusive", "spurious": "spurious", "found": "exclusive_found"}
    return found | {name: 100 * run.results[f"test/{key}"] for name, key in percent.items()}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws how many exclusive latents are spurious."""
    tables.draw_bars(lines, "spurious", "spurious exclusive latents, %", figure)
