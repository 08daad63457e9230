r"""A vector-quantised autoencoder on MNIST: 7 x 7 places, each one of 128 entries.

python -m experiments.main --config=configs/vq_mnist.py

About 2.5 minutes on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "ema", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for a codebook that learns by a loss; "ema" for one that is a moving average of what
        falls to each entry; "debug" for a few steps on a few examples.
    """
    if arg not in VARIANTS:
        raise ValueError(f'vq_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 5 * 600
    config.batch_size = 100
    config.log_every = 100
    config.checkpoint_every = 600
    config.eval_every = 600
    config.dead_after = 10_000
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(name="vq", d_sae=128, width=16, channels=(16, 32), output="sigmoid")
    config.loss.update(bce=1.0, codebook=1.0, commitment=0.25)
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=2e-3, warmup=0.02), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=500, metrics=("mse", "fvu", "perplexity", "density"))
    )
    if arg == "ema":
        config.model.update(update="average", decay=0.99)
        config.loss = ml_collections.ConfigDict(dict(bce=1.0, commitment=0.25))
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(d_sae=16, width=4, channels=(4, 8))
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
