"""Films frame by frame: what was, what the model makes of its first frames, and a frozen picture.

A line marks where the model sees no more; from there on "copy last" repeats the last frame it saw.
"""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (11.0, 5.0)
_FILMS = 3


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns frames `[films, time, height, width]` by what they are, and how many were seen."""
    grid = run.spec.grid
    if grid is None or len(grid) != 4:
        return None
    films: dict[str, np.ndarray] = {}
    for name, numbers in (("truth", run.target), ("model", run.output.x_hat)):
        numbers = np.asarray(numbers)[:_FILMS]
        films[name] = numbers.reshape(len(numbers), -1, *grid[1:]).mean(axis=-1)
    seen = grid[0]
    if films["truth"].shape[1] > seen:
        films["copy last"] = films["truth"].copy()
        films["copy last"][:, seen:] = films["truth"][:, seen - 1 : seen]
    return {"films": films, "seen": seen}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws one sheet: a strip of frames for each version of each film, time from left to right."""
    films, seen = rows["films"], rows["seen"]
    count, time, height, width = films["truth"].shape
    gap = max(1, height // 16)
    pitch = len(films) * (height + gap) + 3 * gap  # From film to film.
    sheet = np.full((count * pitch - 4 * gap, time * (width + gap) - gap), np.nan)
    tops = []
    for number in range(count):
        for line, frames in enumerate(films.values()):
            tops.append(number * pitch + line * (height + gap))
            for t, frame in enumerate(frames[number]):
                left = t * (width + gap)
                sheet[tops[-1] : tops[-1] + height, left : left + width] = frame
    figure.set_figheight(0.3 + 0.93 * figure.get_figwidth() * sheet.shape[0] / sheet.shape[1])
    axis = figure.subplots()
    low, high = float(films["truth"].min()), float(films["truth"].max())
    axis.imshow(sheet, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    if seen < time:
        axis.axvline(seen * (width + gap) - 0.5 * (gap + 1), color="tab:red", linewidth=1.5)
    axis.set_yticks(np.asarray(tops) + height / 2, [*films] * count, fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("Frame by frame; right of the line the model sees none", fontsize=9)
