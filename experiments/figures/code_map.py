"""Codes of the first evaluation as points of a plane, coloured by label.

Codes of two numbers are the points themselves; of longer ones their first two principal components
are, with the share of their variance that the plane shows.
"""

from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
import numpy as np
from scipy import linalg

from experiments import figures

SIZE = (6.4, 5.6)
_POINTS = 2000
_CLASSES = 20  # Colours that can be told from each other.


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns points `[n, 2]`, labels `[n]`, and the share of the codes' variance they show."""
    evaluation = next(iter(run.task.evaluations.values()), None)
    if evaluation is None or evaluation.data.label is None:
        return None
    batch = evaluation.first(_POINTS)
    codes = np.asarray(run.evaluator.outputs(run.state, batch).codes, np.float64)
    label = np.asarray(batch.label)
    if len(np.unique(label)) > _CLASSES or codes.shape[1] < 2 or not codes.var(axis=0).any():
        return None  # Too many colours, or nothing that spreads.
    if codes.shape[1] == 2:
        return {"points": codes, "label": label, "share": 1.0}
    points, share = _principal(codes)
    return {"points": points, "label": label, "share": share}


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a point for each example."""
    axis = figure.subplots()
    labels = np.unique(rows["label"])
    colours = colormaps["tab10" if len(labels) <= 10 else "tab20"]
    for place, label in enumerate(labels):
        points = rows["points"][rows["label"] == label]
        axis.plot(*points.T, ".", color=colours(place), markersize=5, alpha=0.7, label=str(label))
        axis.annotate(str(label), np.median(points, axis=0), fontsize=13, weight="bold")
    axis.legend(title="label", fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    if rows["share"] < 1:
        axis.set_xlabel("first principal component of the codes")
        axis.set_ylabel("second")
        axis.set_title(f"{100 * rows['share']:.3g} % of the variance of the codes", fontsize=9)
    else:
        axis.set_xlabel("first latent")
        axis.set_ylabel("second latent")


def _principal(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the coordinates on the first two components, and their share of the variance."""
    centred = codes - codes.mean(axis=0)
    wide = codes.shape[1] > len(codes)
    products = centred @ centred.T if wide else centred.T @ centred  # The smaller of the two.
    last = len(products) - 1
    values, vectors = linalg.eigh(products, subset_by_index=[last - 1, last])
    points = vectors * np.sqrt(np.maximum(values, 0)) if wide else centred @ vectors
    return points[:, ::-1], float(values.sum() / np.trace(products))
