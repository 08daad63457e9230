"""How often latents are active: the activation-density histogram."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from sae_jax.metrics import density

SIZE = (6.0, 3.6)


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns the share of examples that activate each latent, and how many examples there were."""
    totals = next(iter(run.totals.values()), {})
    if "density" not in totals:
        return None
    return {"share": density.density(totals["density"]), "n": float(totals["density"]["n"])}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws the histogram of log10 of the share; dead latents are told, not drawn."""
    axis = figure.subplots()
    share = rows["share"]
    alive = share[share > 0]
    bins = np.linspace(np.floor(np.log10(1 / rows["n"])), 0, 61)
    axis.hist(np.log10(alive), bins=bins.tolist(), color="tab:blue")
    axis.axvline(np.log10(density.DENSE), color="tab:red", linewidth=1, linestyle="--")
    axis.set_xlabel("log10 of the share of examples that activate the latent")
    axis.set_ylabel("latents")
    dense = int((share > density.DENSE).sum())
    axis.set_title(
        f"{len(share):,} latents: {len(share) - len(alive):,} dead, "
        f"{dense:,} dense (right of the line)",
        fontsize=9,
    )
