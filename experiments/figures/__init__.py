"""Pictures of a run, one file each: `rows(run)` gives numbers, `draw(rows, figure)` a picture.

A file is found by its name; `rows` returns None where the picture makes no sense for the run.
"""

from collections.abc import Mapping
import dataclasses
import functools
import importlib
from pathlib import Path
import pkgutil
from typing import Any

import matplotlib

matplotlib.use("agg")
import jax
import jax.numpy as jnp
from matplotlib import figure as mpl_figure, layout_engine
from matplotlib.backends import backend_agg
import numpy as np

from sae_jax import types
from sae_jax.data import base
from sae_jax.train import evaluate, loop, step, writer

EXAMPLES = 14


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, as pictures see it.

    Attributes:
      folder: where it is kept.
      task: what was trained, and on what.
      state: as it was saved last.
      params: parameters, whole, NumPy arrays; `w_dec` is there too if the model makes it of others.
      stats: what the model carries on besides, whole, NumPy arrays.
      totals: sums of the metrics, for each evaluation.
      input: `[EXAMPLES, d_in]`, the first examples of the first evaluation, as the model sees them.
      target: `[EXAMPLES, d_out]`, what it was to make of them.
      output: of the model for them, NumPy arrays, in the scale of the data.
      evaluator: what encodes other data: `run.evaluator.encoded(run.state, data)`.
    """

    folder: Path
    task: loop.Task
    state: step.State
    params: dict[str, Any]
    stats: dict[str, Any]
    totals: Mapping[str, evaluate.Totals]
    input: np.ndarray
    target: np.ndarray
    output: types.Output
    evaluator: evaluate.Evaluator

    @property
    def spec(self) -> base.Spec:
        """What is known of its data."""
        return self.task.data.spec

    def decode(self, codes: np.ndarray, like: np.ndarray) -> np.ndarray | None:
        """Returns what codes stand for, `[n, d_out]`, in the scale of the data.

        None if the model cannot tell, because its codes are not all that its decoder sees.

        Args:
          codes: `[n, d_sae]`.
          like: `[n, d_in]`, examples in whose scale, where each has one of its own.
        """
        method = self.task.method
        if not hasattr(method.model, "decode"):
            return None
        scale = method.normaliser.scale(self.state.normaliser, jnp.asarray(like))
        variables = jax.tree.map(jnp.asarray, {"params": self.params, "stats": self.stats})
        x_hat: Any = method.model.apply(variables, jnp.asarray(codes), method="decode")
        return np.asarray(scale.leave(x_hat))

    @functools.cached_property
    def rows(self) -> list[writer.Row]:
        """The rows of `metrics.jsonl`."""
        return writer.read(self.folder / "metrics.jsonl")


def names() -> list[str]:
    """Returns the pictures that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def draw_all(run: Run) -> list[Path]:
    """Draws every picture that makes sense for the run into its `figures/`; returns the files."""
    return [render(name, rows, run.folder) for name, rows in all_rows(run).items()]


def draw(name: str, run: Run) -> Path | None:
    """Draws one picture into the run's `figures/`; returns its file, or None if it has no sense."""
    rows = _module(name).rows(run)
    return None if rows is None else render(name, rows, run.folder)


def all_rows(run: Run) -> dict[str, Any]:
    """Returns the numbers of every picture that makes sense for the run, by its name."""
    found = {name: _module(name).rows(run) for name in names()}
    return {name: rows for name, rows in found.items() if rows is not None}


def render(name: str, rows: Any, folder: Path) -> Path:
    """Draws one picture of its numbers into `figures/` of a run's folder; returns its file."""
    module = _module(name)
    path = folder / "figures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    layout = layout_engine.ConstrainedLayoutEngine()
    figure = mpl_figure.Figure(figsize=module.SIZE, layout=layout, dpi=130)
    module.draw(rows, figure)
    # As `figure.savefig` does, which would draw all of it once more.
    layout.execute(figure)
    figure.set_layout_engine("none")
    backend_agg.FigureCanvasAgg(figure).print_png(path)
    return path


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


def sheet(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Returns images `[n, height, width, channels]` as one, in lines of `columns`, read like text.

    Between them are `gap` pixels of NaN; a single channel is dropped.
    """
    count, height, width, channels = images.shape
    high, wide = height + gap, width + gap
    lines = -(-count // columns)
    made = np.full((lines * high - gap, columns * wide - gap, channels), np.nan, np.float32)
    for place, image in enumerate(images):
        top, left = place // columns * high, place % columns * wide
        made[top : top + height, left : left + width] = image
    return made[:, :, 0] if channels == 1 else made


def on_own_scales(images: np.ndarray) -> np.ndarray:
    """Returns images `[n, height, width]` as `sheet` takes them, each divided by its largest size.

    So each reaches from -1 to 1 at most; one of zeros stays as it is.
    """
    most = np.abs(images).max(axis=(1, 2), keepdims=True)
    return (images / np.where(most > 0, most, 1))[..., None]
