"""Where two latents put each number of an example: the columns of the decoder, as arrows."""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (3.6, 3.6)


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns the columns, `[d_in, 2]`, of a model of two latents and few numbers."""
    w_dec = run.params.get("w_dec")
    if w_dec is None or w_dec.ndim != 2 or len(w_dec) != 2 or w_dec.shape[1] > 32:
        return None
    return {"columns": np.asarray(w_dec).T}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws an arrow for each column, the first ones darkest, and the circle of norm 1."""
    axis, columns = figure.subplots(), rows["columns"]
    circle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(circle), np.sin(circle), color="0.85", linewidth=1)
    for place, (x, y) in enumerate(columns):
        color = str(0.7 * place / len(columns))
        arrow = dict(arrowstyle="->", color=color, lw=1.5, shrinkA=0, shrinkB=0)
        axis.annotate("", (x, y), (0, 0), arrowprops=arrow)
        axis.annotate(str(place), (1.12 * x, 1.12 * y), ha="center", va="center", fontsize=7)
    side = 1.25 * max(1.0, float(np.abs(columns).max()))
    axis.set_xlim(-side, side)
    axis.set_ylim(-side, side)
    axis.set_aspect("equal")
    axis.axis("off")
