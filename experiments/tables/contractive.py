"""Per cent of the 10,000 MNIST test images that a pretrained network of one layer gets wrong.

1,000 logistic units are trained on the pixels of 50,000 images; then a softmax layer is put on them
and all is trained on the labels (Adam, 15 epochs, batches of 30). The other 10,000 training images
choose the epoch of the fine-tuning, and chose penalties, noise and step sizes. Beside it what the
encoder was like before, on the test images: the mean Frobenius norm of its Jacobian, and the
share of units below 0.05 or above 0.95. (The paper's norms are in a unit that it does not state:
0.73e-4 for the CAE, 17.5e-4 for the AE.)
"""

from collections.abc import Sequence
import dataclasses
import functools

from matplotlib.figure import Figure
import numpy as np

from configs import contractive_mnist
from experiments import build, tables
from experiments.tables import baselines
from sae_jax.analysis import finetune
from sae_jax.data import base, mnist
from sae_jax.train import loop

TITLE = "Contractive and denoising autoencoders before a classifier"
COLUMNS = {
    "error": "test error, %",
    "frozen": "encoder kept, %",
    "jacobian": "norm of the Jacobian",
    "saturated": "saturated, %",
}
SIZE = (7.0, 3.6)
_CONFIG = "configs/contractive_mnist.py"
_RIFAI = "Rifai et al. 2011, Table 1"
_ADAM = "Adam, 20 epochs; theirs SGD until it stops"
ROWS = (
    tables.Row("softmax on pixels"),
    tables.Row("softmax on random features"),
    tables.Row("no pretraining"),
    tables.Row(
        "AE",
        f"{_CONFIG}:ae",
        published={"error": 1.78, "saturated": 49.90},
        source=_RIFAI,
        differs=_ADAM,
    ),
    tables.Row(
        "AE, weight decay",
        f"{_CONFIG}:wd",
        published={"error": 1.68, "saturated": 12.97},
        source=_RIFAI,
        differs=_ADAM,
    ),
    tables.Row(
        "DAE, pixels masked",
        f"{_CONFIG}:dae_masking",
        published={"error": 1.57, "saturated": 68.19},
        source=_RIFAI,
        differs=_ADAM,
    ),
    tables.Row(
        "DAE, normal noise",
        f"{_CONFIG}:dae_gaussian",
        published={"error": 1.18, "saturated": 17.77},
        source=_RIFAI,
        differs=_ADAM,
    ),
    tables.Row(
        "CAE", _CONFIG, published={"error": 1.14, "saturated": 86.36}, source=_RIFAI, differs=_ADAM
    ),
    tables.Row("CAE+H", f"{_CONFIG}:hessian"),
)
_FINE = finetune.Settings(epochs=15, patience=15, batch_size=30, learning_rate=3e-3, decay=True)
_FROZEN = finetune.Settings(epochs=30, patience=10, learning_rate=1e-3, frozen=True)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns errors with and without fine-tuning, and what the encoder is like."""
    splits = _splits()
    if row.label == "softmax on pixels":
        return {"frozen": _percent(finetune.of_codes(splits, _FROZEN, seed))}
    if row.label == "softmax on random features":
        return {"frozen": _percent(finetune.of_codes(_random(splits, seed), _FROZEN, seed))}
    if run is None:
        config = contractive_mnist.get_config()
        config.seed = seed
        task = build.task(config)
        state = loop.initialise(task, loop.template(task))
        return {"error": _percent(finetune.run(task.method, state, splits, _FINE, seed))}
    method, state = run.task.method, run.state
    codes, _ = run.evaluator.encoded(state, splits.test)
    norms = (np.asarray(state.params["w_dec"], np.float64) ** 2).sum(axis=1)
    return {
        "error": _percent(finetune.run(method, state, splits, _FINE, seed)),
        "frozen": _percent(finetune.run(method, state, splits, _FROZEN, seed)),
        "jacobian": np.sqrt((codes * (1 - codes)) ** 2 @ norms).mean(),
        "saturated": 100 * ((codes < 0.05) | (codes > 0.95)).mean(),
    }


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for the error of each row, and a mark where something is published."""
    tables.draw_bars(lines, "error", "test error after fine-tuning, %", figure)


@functools.cache
def _splits() -> finetune.Splits:
    return finetune.Splits(
        mnist.load("train[:50000]"), mnist.load("train[50000:]"), mnist.load("test")
    )


def _random(splits: finetune.Splits, seed: int) -> finetune.Splits:
    """Returns 1,000 random features in place of the pixels, the same for every split."""
    parts = (splits.train, splits.valid, splits.test)
    pixels = [baselines.decoded(data) for data in parts]
    features = baselines.random_features(np.concatenate(pixels), 1000, seed)
    cuts = np.cumsum([data.length for data in parts])[:-1]
    spec = base.Spec("random features", "all", (1000,))
    return finetune.Splits(
        *(
            dataclasses.replace(data, spec=spec, x=x)
            for data, x in zip(parts, np.split(features, cuts), strict=True)
        )
    )


def _percent(result: finetune.Result) -> float:
    return 100 * result.test
