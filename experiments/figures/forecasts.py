"""Series and what a model predicts of them: truth, model, and the last value repeated."""

from typing import Any

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (10.0, 5.2)
_COLUMNS = 3


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns the first channel of windows spread over the first evaluation, `[windows, time]`."""
    grid = run.spec.grid
    if grid is None or len(grid) != 2 or run.target.shape == run.input.shape:
        return None
    if not run.task.evaluations:
        return None
    data = next(iter(run.task.evaluations.values())).data
    chosen = np.linspace(0, data.length - 1, 2 * _COLUMNS).astype(int)
    batch = data.decode({name: jnp.asarray(array) for name, array in data.rows(chosen).items()})
    model = run.evaluator.outputs(run.state, batch).x_hat

    def series(numbers: Any) -> np.ndarray:
        return np.asarray(numbers).reshape(len(chosen), -1, grid[1])[:, :, 0]

    return {
        "window": chosen,
        "truth": series(batch.target),
        "model": series(model),
        "seen": grid[0],
    }


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a panel for each window; left of the dashed line is what the model sees."""
    seen = rows["seen"]
    panels = figure.subplots(2, _COLUMNS, sharex=True, sharey=True)
    for axis, window, truth, model in zip(
        panels.flat, rows["window"], rows["truth"], rows["model"], strict=True
    ):
        time = np.arange(len(truth)) - seen + 1
        axis.plot(time, truth, color="0.2", linewidth=1.6, label="truth")
        axis.plot(time, model, color="tab:orange", linewidth=1.2, label="model")
        axis.plot(
            time[seen - 1 :],
            np.full(len(truth) - seen + 1, truth[seen - 1]),
            color="tab:blue",
            linewidth=1,
            linestyle=":",
            label="copy last",
        )
        axis.axvline(0, color="0.5", linewidth=0.8, linestyle="--")
        axis.set_title(f"window {window}", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in panels[-1]:
        axis.set_xlabel("steps after the last that is seen", fontsize=8)
    panels[0, 0].legend(fontsize=7)
