"""Kernels of the convolutions next to the picture: what a map looks for, and what it draws."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (9.0, 4.6)
_LAYERS = {"enc_0": "first layer of the encoder", "dec_0": "last layer of the decoder"}
_MOST = 64  # Kernels of a layer.
_GAP = 1  # Pixels between two kernels.


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns the kernels `[maps, side, side]` of each layer, the mean of their channels."""
    shape = run.spec.image_shape
    if shape is None:
        return None
    found = {name: _kernels(run.params.get(name), shape[-1]) for name in _LAYERS}
    kernels = {name: kernel for name, kernel in found.items() if kernel is not None}
    return {"kernels": kernels} if kernels else None


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a sheet for each layer, each kernel on its own scale: red adds, blue takes away."""
    kernels = rows["kernels"]
    axes = figure.subplots(1, len(kernels), squeeze=False)[0]
    for axis, (name, images) in zip(axes, kernels.items(), strict=True):
        shown = figures.on_own_scales(images[:_MOST])
        sheet = figures.sheet(shown, int(np.ceil(np.sqrt(len(shown)))), _GAP)
        axis.imshow(sheet, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_facecolor("0.85")
        axis.set_xticks([])
        axis.set_yticks([])
        side = "x".join(map(str, images.shape[1:]))
        axis.set_title(f"{_LAYERS[name]}: {len(images)} kernels, {side}", fontsize=9)


def _kernels(layer: Any, channels: int) -> np.ndarray | None:
    """Returns `[maps, side, side]` of a layer that sees or makes pictures of so many channels."""
    w = layer.get("w") if isinstance(layer, dict) else None
    if w is None or w.ndim != 4 or channels not in w.shape[2:]:
        return None
    w = np.asarray(w)
    picture = 2 if w.shape[2] == channels else 3
    return np.moveaxis(w.mean(axis=picture), -1, 0)
