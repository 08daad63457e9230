"""Rows of the decoder as images, the most used latent first."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from sae_jax.metrics import density

SIZE = (8.6, 8.8)
_SIDE = 16
_GAP = 2  # Pixels between two images.


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[count, height, width]` and how often each latent is active."""
    shape = run.spec.image_shape
    totals = next(iter(run.totals.values()), {})
    if shape is None or "density" not in totals or not _rows_are_images(run):
        return None
    share = density.density(totals["density"])
    order = np.argsort(-share, kind="stable")[: _SIDE**2]
    images = run.params["w_dec"][order].reshape(-1, *shape).mean(axis=-1)
    return {"images": images, "share": share[order]}


def _rows_are_images(run: figures.Run) -> bool:
    """Returns whether each latent has one row of pixels: not so in a deep decoder."""
    w_dec = run.params.get("w_dec")
    return w_dec is not None and w_dec.shape == (run.output.codes.shape[-1], run.spec.d_in)


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws one sheet of features, each on a scale of its own: red adds, white is 0, blue takes."""
    images, share = rows["images"], rows["share"]
    side = int(np.ceil(np.sqrt(len(images))))
    height, width = images.shape[1] + _GAP, images.shape[2] + _GAP
    sheet = figures.sheet(figures.on_own_scales(images), side, _GAP)
    rest = (side * height - sheet.shape[0], side * width - sheet.shape[1])  # To a square.
    sheet = np.pad(sheet, ((0, rest[0]), (0, rest[1])), constant_values=np.nan)
    axis = figure.subplots()
    axis.imshow(sheet, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_facecolor("0.85")
    first = np.arange(0, len(images), side)
    axis.set_yticks(
        (first // side + 0.5) * height,
        [f"{100 * share[place]:.3g} %" for place in first],
        fontsize=7,
    )
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.set_title(
        "Decoder rows, most used first; beside each line how often its first latent is active",
        fontsize=9,
    )
