"""What more draws in the bound bring: -log p(x) of binarised MNIST, in nats per image.

784-200-200-50. Pixels of the training images are drawn anew at each step, those of the
test images once. 5,000 draws an image. Length of the runs, batch size and learning rate were chosen
on the last 10,000 training images.
"""

from collections.abc import Sequence
import functools

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from sae_jax.data import mnist
from sae_jax.ops import corrupt
from sae_jax.train import evaluate

TITLE = "Importance-weighted autoencoders"
COLUMNS = {
    "nll": "-log p(x), nats",
    "negative_elbo": "bound of one draw, nats",
    "active_units": "active units",
}
SIZE = (7.0, 2.8)
_BURDA = "Burda et al. 2015, Table 1"
_DIFFERS = "ELU, {} epochs on batches of 60; theirs tanh, 3,280 epochs on batches of 20"
_COMPONENTS = 500
_ITERATIONS = 20
ROWS = (
    tables.Row("independent pixels", seeds=(0,)),
    tables.Row(
        f"mixture of {_COMPONENTS} Bernoullis",
        seeds=(0,),
        published={"nll": 137.64},
        source="Salakhutdinov & Murray 2008",
        differs="theirs was fitted and measured on another binarisation, drawn once",
    ),
    tables.Row(
        "variational autoencoder",
        "configs/vae_mnist.py",
        published={"nll": 86.76, "active_units": 19},
        source=_BURDA,
        differs=_DIFFERS.format(60),
    ),
    tables.Row(
        "k = 5",
        "configs/vae_mnist.py:iwae5",
        published={"nll": 85.54, "active_units": 22},
        source=_BURDA,
        differs=_DIFFERS.format(60),
    ),
    tables.Row(
        "k = 50",
        "configs/vae_mnist.py:iwae50",
        published={"nll": 84.78, "active_units": 25},
        source=_BURDA,
        differs=_DIFFERS.format(50) + "; 5 draws, picked by their weights, get a gradient",
    ),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns likelihood, bound and active units on the test images."""
    if run is not None:
        return {name: run.results[f"test/{name}"] for name in COLUMNS}
    train, test = _binarised("train"), _binarised("test")
    components = 1 if row.label == "independent pixels" else _COMPONENTS
    return {"nll": float(-mixture(train, components, seed)(test).mean())}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for each model that has a code, and a mark where something is published."""
    shown = [line for line in lines if line.row.config]
    tables.draw_bars(shown, "nll", "-log p(x) of a test image, nats", figure)
    figure.axes[0].set_xlim(left=80)


class Mixture:
    """A mixture of products of Bernoullis.

    Attributes:
      share: `[components]`, of each component.
      mean: `[components, d_in]`.
    """

    def __init__(self, share: np.ndarray, mean: np.ndarray) -> None:
        """Keeps its parameters."""
        self.share, self.mean = share, mean

    def joint(self, x: np.ndarray) -> np.ndarray:
        """Returns `log p(x, component)`, `[n, components]`."""
        off = np.log1p(-self.mean)
        return x @ (np.log(self.mean) - off).T + off.sum(axis=1) + np.log(self.share)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Returns `log p(x)`, `[n]`."""
        return np.logaddexp.reduce(self.joint(x), axis=1)


def mixture(x: np.ndarray, components: int, seed: int) -> Mixture:
    """Returns a mixture fitted to binary examples by expectation maximisation.

    Each mean counts one example more: the mean of all, so that no pixel is impossible.
    """
    everything = np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3)
    start = x[np.random.RandomState(seed).choice(len(x), components, replace=False)]
    share = np.full(components, 1 / components, np.float32)
    model = Mixture(share, 0.5 * (start + everything))
    for _ in range(_ITERATIONS):
        joint = model.joint(x)
        weight = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
        count = weight.sum(axis=0)
        mean = (weight.T @ x + everything) / (count[:, None] + 1)
        model = Mixture(((count + 1) / (len(x) + components)).astype(np.float32), mean)
    return model


@functools.cache
def _binarised(split: str) -> np.ndarray:
    """Returns the examples of a split as an evaluation of `vae_mnist` draws them, `[n, d_in]`."""
    data = mnist.load(split)
    drawn = corrupt.Corruption(corrupt.binarise, data.spec.grid)
    whole = evaluate.Evaluation(data, {}, data.length, drawn)
    return np.asarray(whole.first(data.length).x)
