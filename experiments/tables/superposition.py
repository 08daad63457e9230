"""How many of five features two latents keep, and at what angles: the toy model of superposition.

Loss: the squared error of feature i weighs 0.9^i; of 100,000 test examples, and, as in the paper,
of the best of five instances, which are runs that differ in their seeds; at p = 1 of one, as they
are all alike. A feature is kept if its column of the decoder is longer than 0.5; gaps are the
angles between neighbours among those.
Without training: the two most important features, one for each latent, and the means of the others,
which is PCA weighted by importance; and a regular pentagon, whose norm and one bias for all are
fitted to 20,000 training examples. A frozen W is random, and biases alone are learned.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np
from scipy import optimize

from experiments import tables
from sae_jax.data import base, superposition

TITLE = "Toy model of superposition: features in two dimensions"
COLUMNS = {
    "loss": "loss",
    "features": "features kept",
    "least": "least gap, degrees",
    "largest": "largest gap, degrees",
    "norm": "mean norm",
}
SIZE = (6.4, 3.0)
_CONFIG = "configs/papers/superposition.py"
_PAPER = "Elhage et al. 2022, figure of the introduction"
_RARE, _KEPT, _DECAY = 0.05, 0.5, 0.9
_PENTAGON = f"regular pentagon, p = {_RARE:g}"
_EXAMPLES = 20_000  # To fit its norm and bias to.


def _trained(probability: float, features: int, instances: int) -> tables.Row:
    return tables.Row(
        f"p = {probability:g}",
        _CONFIG,
        {} if probability == _RARE else {"data.probability": probability},
        published={"features": features},
        source=_PAPER,
        instances=instances,
    )


ROWS = (
    tables.Row(f"two features, p = {_RARE:g}", seeds=(0,)),
    tables.Row(_PENTAGON, seeds=(0,)),
    tables.Row(f"frozen W, p = {_RARE:g}", f"{_CONFIG}:frozen", instances=5),
    _trained(1.0, 2, 1),
    _trained(0.2636, 4, 5),
    _trained(_RARE, 5, 5),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the loss and the geometry of one instance or of a baseline."""
    del seed
    if row.label == _PENTAGON:
        return _of_pentagon()
    if run is None:
        x = _examples(superposition.load("test", _RARE))
        x_hat = np.concatenate(
            [x[:, :2], np.broadcast_to(x[:, 2:].mean(axis=0), x[:, 2:].shape)], 1
        )
        return {"loss": loss(x, x_hat), "features": 2}
    params = {name: np.asarray(value, np.float64) for name, value in run.state.params.items()}
    x = _examples(run.task.evaluations["test"].data)
    codes = x @ params["w_dec"].T + params["b_enc"]
    x_hat = np.maximum(codes @ params["w_dec"] + params["b_dec"], 0)
    return {"loss": loss(x, x_hat), **geometry(params["w_dec"].T)}


def _of_pentagon() -> tables.Numbers:
    angles = 2 * np.pi * np.arange(superposition.N_FEATURES) / superposition.N_FEATURES
    columns = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seen = _examples(superposition.load(f"train[:{_EXAMPLES}]", _RARE))
    x = _examples(superposition.load("test", _RARE))

    def left(fitted: np.ndarray, x: np.ndarray) -> float:
        return loss(x, np.maximum(fitted[0] ** 2 * (x @ columns @ columns.T) + fitted[1], 0))

    fitted = optimize.minimize(left, np.asarray([1.0, 0.0]), seen, method="Nelder-Mead").x
    return {"loss": left(fitted, x), **geometry(abs(fitted[0]) * columns)}


def join(found: Sequence[tables.Numbers]) -> tables.Numbers:
    """Returns the numbers of the instance of least loss."""
    return min(found, key=lambda numbers: numbers["loss"])


def loss(x: np.ndarray, x_hat: np.ndarray) -> float:
    """Returns the mean over examples of the squared error, feature i weighing 0.9^i."""
    return float(((x - x_hat) ** 2 @ _DECAY ** np.arange(x.shape[1])).mean())


def geometry(columns: np.ndarray) -> tables.Numbers:
    """Returns how many columns `[n, 2]` are kept, their gaps in degrees and their mean norm."""
    norms = np.linalg.norm(columns, axis=1)
    kept = columns[norms > _KEPT]
    if len(kept) < 2:
        return {"features": len(kept)}
    angles = np.sort(np.degrees(np.arctan2(kept[:, 1], kept[:, 0])))
    gaps = np.diff(angles, append=angles[0] + 360)
    return {
        "features": len(kept),
        "least": float(gaps.min()),
        "largest": float(gaps.max()),
        "norm": float(norms[norms > _KEPT].mean()),
    }


def _examples(data: base.Dataset) -> np.ndarray:
    return np.asarray(base.first(data, data.length).x, np.float64)


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws how many features each row keeps."""
    tables.draw_bars(lines, "features", "features kept by two latents", figure)
