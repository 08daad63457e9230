r"""A winner-take-all autoencoder on MNIST: 2,000 ReLU latents, each active for 5 % of a batch.

python -m experiments.main --config=configs/wta_mnist.py
python -m experiments.figure --name=wta

FC-WTA, Makhzani & Frey 2015 (arXiv 1409.2752): untied linear decoder, squared error and nothing
else. When nothing is trained the codes are plain ReLUs; a linear SVM on them has 1.20 % errors on
the test images there.

Trained on 50,000 images for 15 epochs, SVM on the same and 10,000 other training images to test it:
1.50 %, with 10 % of the latents active. On the test images, three seeds: 1.50, 1.50 and 1.31 %.
About 4 minutes on two CPU cores, before the SVM.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug")
_EPOCHS = 15
_BATCH = 100


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "" or "debug", a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'wta_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = _EPOCHS * 60_000 // _BATCH
    config.eval_every = config.checkpoint_every = config.num_steps // 4
    config.log_every = 100
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(
        name="sae",
        d_sae=2000,
        activation=dict(name="lifetime", share=0.05),
        pre_bias=False,
        decoder_norm=0.3,
    )
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="trapezoid", value=1e-3, decay=0.3), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu", "l0", "density"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.d_sae = 64
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def share() -> sweep.Sweep:
    """For what share of a batch a latent is active, three seeds of each."""
    return sweep.product(sweep.grid("model.activation.share", 0.02, 0.05, 0.1, 0.2), seeds())


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
