r"""A convolutional winner-take-all autoencoder on MNIST: one winner in each map of each digit.

python -m experiments.main --config=configs/conv_wta_mnist.py

CONV-WTA, Makhzani & Frey 2015 (arXiv 1409.2752): three convolutional ReLU layers, winners, and one
linear layer of 11 x 11 kernels, each of which has to draw a whole stroke. A linear SVM on the maps,
pooled to 7 x 7, has 1.02 % errors with 16 maps there and 0.64 % with 128.

About 4 minutes on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "paper", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for 16 maps, small enough for two CPU cores; "paper" for 64, 64 and 128 maps, made for
        an accelerator; "debug" for a few steps.
    """
    if arg not in VARIANTS:
        raise ValueError(f'conv_wta_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 2 * 600
    config.batch_size = 100
    config.log_every = 25
    config.eval_every = config.checkpoint_every = 600
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(
        name="conv_wta", channels=(8, 8, 16), kernel=5, decoder_kernel=11, share=0.2
    )
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="trapezoid", value=2e-3, decay=0.5), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=500, metrics=("mse", "fvu", "l0", "density"))
    )
    if arg == "paper":
        config.num_steps = 50 * 600
        config.model.update(channels=(64, 64, 128), share=0.05)
        config.optim.learning_rate.value = 1e-3
    if arg == "debug":
        config.update(num_steps=4, batch_size=32, log_every=2, eval_every=2, checkpoint_every=2)
        config.model.update(channels=(2, 2, 4), decoder_kernel=5)
        config.data.split = "train[:256]"
        config.evals.test.update(split="test[:128]", batch_size=64)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
