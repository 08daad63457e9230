"""Where reconstructions differ from pictures: some normal ones of the test data, some anomalies.

Anomalies are examples whose label no training example has. Those shown are spread evenly over the
data, not chosen.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from matplotlib import colormaps, colors
from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from experiments.detection import normal
from sae_jax.analysis import novelty

SIZE = (9.8, 3.2)
_EACH = 6
_GAP = 2  # Pixels between two pictures.


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Some pictures, and what a model makes of them.

    Attributes:
      encoded: the pictures, flat.
      below: what stands below each.
    """

    encoded: novelty.Encoded
    below: list[str]


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns pictures of both kinds, with their squared errors."""
    found = normal.judged(run.task)
    if found is None or run.spec.image_shape is None:
        return None
    data, anomalous = found
    groups = {}
    for name, kind in (("normal", ~anomalous), ("anomalies", anomalous)):
        place = np.flatnonzero(kind)
        place = place[np.linspace(0, len(place) - 1, min(_EACH, len(place))).astype(int)]
        encoded = normal.encode(run.evaluator, run.state, normal.rows(data, place))
        below = [f"error {error:.3g}" for error in novelty.residual(encoded)]
        groups[name] = Pictures(encoded, below)
    return {"groups": groups, "shape": run.spec.image_shape}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws input, reconstruction and residual, red where the input is brighter than expected."""
    groups: dict[str, Pictures] = rows["groups"]
    x = np.concatenate([group.encoded.x for group in groups.values()])
    x_hat = np.concatenate([group.encoded.x_hat for group in groups.values()])
    grey = colors.Normalize(float(x.min()), float(x.max()), clip=True)
    most = float(np.abs(x - x_hat).max()) or 1.0
    widths = [len(group.below) for group in groups.values()]
    axes = figure.subplots(1, len(groups), width_ratios=widths, squeeze=False)[0]
    height, width = rows["shape"][0] + _GAP, rows["shape"][1] + _GAP
    for axis, (name, group) in zip(axes, groups.items(), strict=True):
        seen = group.encoded.x.reshape(-1, *rows["shape"])
        made = group.encoded.x_hat.reshape(-1, *rows["shape"])
        residual = colors.Normalize(-most, most)((seen - made).mean(axis=-1))
        pictures = (_rgb(grey(seen)), _rgb(grey(made)), colormaps["RdBu_r"](residual)[..., :3])
        axis.imshow(_sheet(pictures), interpolation="nearest")
        axis.set_title(name, fontsize=10)
        place = (np.arange(len(group.below)) + 0.5) * width
        axis.set_xticks(place, group.below, fontsize=7)
        axis.set_yticks((np.arange(3) + 0.5) * height, ["input", "reconstruction", "residual"])
        axis.tick_params(length=0, labelsize=7, labelleft=axis is axes[0])
        axis.spines[:].set_visible(False)


def _rgb(images: np.ndarray) -> np.ndarray:
    """Returns `[n, height, width, 3]` from one channel or three, or from the mean of others."""
    if images.shape[-1] != 3:
        images = images.mean(axis=-1, keepdims=True)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def _sheet(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Returns one picture of lines of pictures, `[n, height, width, 3]` each, on white."""
    margins = ((0, 0), (_GAP // 2, _GAP // 2), (_GAP // 2, _GAP // 2), (0, 0))
    padded = [np.pad(line, margins, constant_values=1.0) for line in lines]
    return np.concatenate([np.concatenate(list(line), axis=1) for line in padded], axis=0)
