r"""A contractive autoencoder on MNIST, and its rivals: 1,000 tied sigmoids (Rifai et al. 2011).

python -m experiments.main --config=configs/contractive_mnist.py
python -m experiments.main --config=configs/contractive_mnist.py:dae_gaussian
python -m experiments.figure --name=contractive

Cross-entropy of the pixels plus a penalty that keeps codes from reacting to the input. What it is
worth is told by the digits: the table `contractive` fine-tunes each encoder on labels. As in the
paper, 50,000 images train and the other 10,000 training images choose everything that is chosen.
About two minutes on two CPU cores, and as long again for the fine-tuning.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug", "ae", "wd", "dae_gaussian", "dae_masking", "hessian")
_EPOCH = 500  # Steps of 100 examples.


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for the contractive autoencoder; "debug" for a few steps of it; "ae" for the same
        without a penalty; "wd" for weight decay in its place; "dae_gaussian" and "dae_masking" for
        denoising, of normal noise and of pixels set to 0; "hessian" for a penalty on how the
        Jacobian changes besides (CAE+H, Rifai et al. 2011, ECML).
    """
    if arg not in VARIANTS:
        raise ValueError(f'contractive_mnist has no variant "{arg}": it has {", ".join(VARIANTS)}')
    config = base.get_config()
    config.num_steps = 20 * _EPOCH
    config.batch_size = 100
    config.eval_every = 10 * _EPOCH
    config.checkpoint_every = 5 * _EPOCH
    config.data.update(name="mnist", split="train[:50000]", folder="")
    config.model.update(
        name="sae",
        d_sae=1000,
        activation=dict(name="sigmoid"),
        tied=True,
        pre_bias=False,
        output="sigmoid",
        weights="uniform",
    )
    config.loss.update(bce=1.0, contractive=1.0)
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=1e-3, warmup=0.02), clip_norm=0.0
    )
    config.evals.valid = ml_collections.ConfigDict(
        dict(split="train[50000:]", batch_size=2000, metrics=("mse", "saturation"))
    )
    config.evals.some = ml_collections.ConfigDict(
        dict(split="train[50000:50200]", batch_size=200, metrics=("jacobian",))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.d_sae = 32
        config.data.split = "train[:512]"
        config.evals.valid.update(split="train[50000:50256]", batch_size=128)
        config.evals.some.update(split="train[50000:50064]", batch_size=64)
    if arg in ("ae", "wd", "dae_gaussian", "dae_masking"):
        del config.loss.contractive
    if arg == "wd":
        config.loss.weight_decay = 1e-3
    if arg == "dae_gaussian":
        config.corruption = ml_collections.ConfigDict(dict(name="gaussian", sigma=0.3))
    if arg == "dae_masking":
        config.corruption = ml_collections.ConfigDict(dict(name="masking", share=0.25))
    if arg == "hessian":
        config.loss.contractive_hessian = ml_collections.ConfigDict(
            dict(weight=0.1, sigma=0.3, samples=1)
        )
    return config


def penalty() -> sweep.Sweep:
    """Weights of the contractive penalty."""
    return sweep.grid("loss.contractive", 0.1, 0.5, 1.0, 2.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
