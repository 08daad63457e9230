"""Straight lines between the codes of two examples, decoded at equal steps."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (7.4, 5.0)
_STEPS = 9
_PAIRS = 7
_GAP = 2


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[pairs, steps + 2, height, width, channels]`, the two examples outermost."""
    shape = run.spec.image_shape
    if shape is None or run.target.shape != run.input.shape:
        return None
    pairs = min(_PAIRS, len(run.input) // 2)
    first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)

    def between(of: np.ndarray) -> np.ndarray:
        share = np.linspace(0, 1, _STEPS, dtype=of.dtype)[None, :, None]
        mixed = (1 - share) * of[first, None] + share * of[second, None]
        return mixed.reshape(pairs * _STEPS, -1)

    inner = run.decode(between(np.asarray(run.output.codes)), between(run.input))
    if inner is None:
        return None
    parts = [run.target[first, None], inner.reshape(pairs, _STEPS, -1), run.target[second, None]]
    return {"images": np.concatenate(parts, axis=1).reshape(pairs, _STEPS + 2, *shape)}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a line of pictures for each pair, on the scale of the examples."""
    images = rows["images"]
    columns = images.shape[1]
    ends = images[:, [0, -1]]
    low, high = float(ends.min()), float(ends.max())
    if images.shape[-1] > 1:
        images = np.clip((images - low) / ((high - low) or 1.0), 0, 1)
    axis = figure.subplots()
    axis.imshow(
        figures.sheet(images.reshape(-1, *images.shape[2:]), columns, _GAP),
        cmap="gray",
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    wide = images.shape[3] + _GAP
    marks = {0: "example", 1: "its code", columns - 2: "its code", columns - 1: "example"}
    axis.set_xticks([(place + 0.5) * wide for place in marks], list(marks.values()), fontsize=7)
    axis.xaxis.tick_top()
    axis.set_yticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
