"""Examples drawn from the model: codes from the prior, and the mean of what each stands for."""

from typing import Any

import jax
from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (6.2, 6.5)
_SIDE = 12


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[count, height, width, channels]`, of a model that has a prior."""
    shape = run.spec.image_shape
    if shape is None or not hasattr(run.task.method.model, "log_weights"):
        return None
    width = run.output.codes.shape[-1]
    z = np.asarray(jax.random.normal(jax.random.key(0), (_SIDE**2, width)))
    images = run.decode(z, np.broadcast_to(run.input[:1], (len(z), run.spec.d_in)))
    return None if images is None else {"images": images.reshape(-1, *shape)}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws one sheet, all images on one scale."""
    axis = figure.subplots()
    axis.imshow(figures.sheet(rows["images"], _SIDE), cmap="gray", interpolation="nearest")
    axis.set_axis_off()
    axis.set_title("Means of what codes from the prior stand for", fontsize=9)
