"""Of a code of two numbers, what each place of the plane stands for.

The places are quantiles of the normal distribution for a model with a prior (Kingma & Welling 2014,
Figure 4), else equal steps over where the codes of the first examples lie.
"""

import statistics
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures

SIZE = (6.2, 6.2)
_SIDE = 20


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns images `[side^2, height, width, channels]`, and the places along each latent."""
    shape = run.spec.image_shape
    codes = np.asarray(run.output.codes)
    if shape is None or codes.shape[-1] != 2:
        return None
    if hasattr(run.task.method.model, "log_weights"):
        normal = statistics.NormalDist()
        steps = [normal.inv_cdf((place + 0.5) / _SIDE) for place in range(_SIDE)]
        places = np.stack([steps, steps], axis=1)
    else:
        places = np.linspace(codes.min(axis=0), codes.max(axis=0), _SIDE)
    right, up = np.meshgrid(places[:, 0], places[::-1, 1])
    z = np.stack([right.ravel(), up.ravel()], axis=1).astype(np.float32)
    images = run.decode(z, np.broadcast_to(run.input[:1], (len(z), run.spec.d_in)))
    return None if images is None else {"images": images.reshape(-1, *shape), "places": places}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws one sheet, the first latent to the right and the second upwards."""
    images, places = rows["images"], rows["places"]
    side, (height, width) = len(places), images.shape[1:3]
    axis = figure.subplots()
    axis.imshow(figures.sheet(images, side, gap=0), cmap="gray", interpolation="nearest")
    marks = np.linspace(0, side - 1, 6).round().astype(int)
    axis.set_xticks((marks + 0.5) * width, [f"{places[m, 0]:.2g}" for m in marks], fontsize=8)
    axis.set_yticks(
        (side - marks - 0.5) * height, [f"{places[m, 1]:.2g}" for m in marks], fontsize=8
    )
    axis.set_xlabel("first latent")
    axis.set_ylabel("second latent")
