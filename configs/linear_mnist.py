r"""A linear autoencoder of 30 units on MNIST: its optimum is PCA with 30 components.

python -m experiments.main --config=configs/linear_mnist.py

Baldi & Hornik 1989: a linear autoencoder with squared error spans the principal components, and has
no local minimum that is not global. PCA leaves 13.87 squared error per test image (Hinton &
Salakhutdinov 2006, Figure 3); on the training images nothing linear can be below PCA.

It reaches 13.87 within 15 seconds on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "" or "debug", a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'linear_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 1200
    config.batch_size = 1000
    config.eval_every = 300
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(name="sae", d_sae=30, activation=dict(name="identity"), bias="mean")
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=1e-2, warmup=0.02), clip_norm=0.0
    )
    metrics = ("mse", "fvu")
    config.evals.train_split = ml_collections.ConfigDict(
        dict(split="train", batch_size=5000, metrics=metrics)
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=5000, metrics=metrics)
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.data.split = "train[:512]"
        config.evals.train_split.update(split="train[:256]", batch_size=128)
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
