r"""Five features in two dimensions: the toy model of superposition.

python -m experiments.main --config=configs/papers/superposition.py
python -m experiments.main --config=configs/papers/superposition.py --config.data.probability=1.0
python -m launch.local --config=configs/papers/superposition.py --sweep=probability

Elhage et al. 2022 (arXiv 2209.10652), the figure of the introduction: x_hat = ReLU(W^T W x + b),
the squared error of feature i weighs 0.9^i, batches of 1,024, 10,000 steps of Adam at 1e-3. W is
`w_dec` `[2, 5]`, whose columns are features; beside b there is a bias of the two latents, which
says nothing that b cannot.

Aimed at: dense features (p = 1) leave two of them, at a right angle; at p = 0.05 the best of some
runs keeps all five, as the corners of a pentagon, 72 degrees apart, of norms about 1.13. Measured:
13 of 15 runs keep five, the others four; of the best of each five, gaps are 70.3 to 73.2 degrees
and norms 1.13. `experiments/tables/superposition.py` has all; a run takes a quarter of a minute.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "frozen", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    `arg` is "" for p = 0.05, "frozen" for a random W that is kept, so that biases alone are
    learned, or "debug" for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'superposition has no variant "{arg}": it has frozen, debug')
    config = base.get_config()
    config.batch_size = 1024
    config.num_steps = 10_000
    config.checkpoint_every = 0
    config.log_every = 1000
    config.data.update(name="superposition", split="train", probability=0.05, seed=0)
    config.model.update(
        name="sae",
        d_sae=2,
        activation=dict(name="identity"),
        tied=True,
        pre_bias=False,
        output="relu",
        weights="uniform",
    )
    config.loss.mse_importance = dict(weight=1.0, decay=0.9)
    config.optim.update(name="adam", learning_rate=1e-3)
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=10_000, metrics=("mse", "fvu"))
    )
    if arg == "frozen":
        config.optim.constraint = "frozen_rows"
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2)
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def probability() -> sweep.Sweep:
    """How often a feature is on, ten times from always to one time in twenty."""
    return sweep.grid("data.probability", *(round(20 ** (-i / 9), 4) for i in range(10)))


def seeds() -> sweep.Sweep:
    """Five instances, of which the paper shows the one of least loss."""
    return sweep.grid("seed", 0, 1, 2, 3, 4)
