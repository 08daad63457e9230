"""How the decoder norms of latents are shared between the sites of a crosscoder.

At 0 and 1 latents are exclusive, in the middle (at one over the number of sites) shared.
"""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from sae_jax.metrics import density, exclusive

SIZE = (6.0, 3.6)


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns the last site's share in each latent that is active, and, if known, in each feature.

    Needs the metrics exclusive and density.
    """
    totals = next(iter(run.totals.values()), {})
    if not {"exclusive", "density"} <= totals.keys() or run.spec.grid is None:
        return None
    alive = density.density(totals["density"]) > 0
    found = {"latents": exclusive.shares(run.params["w_dec"], run.spec.grid)[alive, -1]}
    if hasattr(run.task.data, "features"):
        found["features"] = exclusive.shares(run.task.data.features, run.spec.grid)[:, -1]
    return found


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws the histogram of the shares; the outline is that of the true features."""
    axis = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    axis.hist(rows["latents"], bins=bins, color="tab:blue", label="active latents")
    if "features" in rows:
        axis.hist(rows["features"], bins=bins, color="0.2", histtype="step", label="features")
        axis.legend(fontsize=8, frameon=False)
    for edge in (1 - exclusive.EXCLUSIVE, exclusive.EXCLUSIVE):
        axis.axvline(edge, color="tab:red", linewidth=1, linestyle="--")
    axis.set_xlabel("share of the last site in the sum of the norms of a decoder row")
    axis.set_ylabel("latents")
    axis.spines[["top", "right"]].set_visible(False)
