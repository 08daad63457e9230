"""One latent moved, all others kept: what the latents that vary most stand for."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from sae_jax.metrics import active_units

SIZE = (5.4, 6.8)
_UNITS = 10
_MOVES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # Standard deviations of a code from its mean.
_GAP = 2


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[units, moves, height, width, channels]`, units and their variances.

    Needs the metric `active_units`. What is not moved is the code of the first example.
    """
    shape = run.spec.image_shape
    totals = next(iter(run.totals.values()), {})
    if shape is None or "active_units" not in totals:
        return None
    variance = active_units.variance(totals["active_units"])
    mean = np.asarray(totals["active_units"]["codes"] / totals["active_units"]["n"])
    units = np.argsort(-variance, kind="stable")[:_UNITS]
    codes = np.tile(np.asarray(run.output.codes[0], np.float32), (len(units), len(_MOVES), 1))
    for line, unit in zip(codes, units, strict=True):
        line[:, unit] = mean[unit] + np.asarray(_MOVES) * np.sqrt(variance[unit])
    codes = codes.reshape(len(units) * len(_MOVES), -1)
    images = run.decode(codes, np.broadcast_to(run.input[:1], (len(codes), run.spec.d_in)))
    if images is None:
        return None
    return {
        "images": images.reshape(len(units), len(_MOVES), *shape),
        "units": units,
        "variance": variance[units],
    }


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a line of pictures for each unit, all on one scale."""
    images = rows["images"]
    axis = figure.subplots()
    axis.imshow(
        figures.sheet(images.reshape(-1, *images.shape[2:]), len(_MOVES), _GAP),
        cmap="gray",
        interpolation="nearest",
    )
    high, wide = images.shape[2] + _GAP, images.shape[3] + _GAP
    moves = [f"{move:+g}" if move else "mean" for move in _MOVES]
    axis.set_xticks((np.arange(len(_MOVES)) + 0.5) * wide, moves, fontsize=7)
    axis.xaxis.tick_top()
    names = [
        f"{unit} ({variance:.2f})"
        for unit, variance in zip(rows["units"], rows["variance"], strict=True)
    ]
    axis.set_yticks((np.arange(len(names)) + 0.5) * high, names, fontsize=7)
    axis.set_ylabel("latent (variance of its code)", fontsize=8)
    axis.set_title("Standard deviations that one latent is moved by", fontsize=9)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
