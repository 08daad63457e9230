r"""A deep autoencoder on MNIST: 784-1000-500-250-30 and back, as Hinton & Salakhutdinov 2006.

python -m experiments.main --config=configs/deep_mnist.py
python -m experiments.main --config=configs/deep_mnist.py:long
python -m experiments.main --config=configs/deep_mnist.py:layerwise
python -m experiments.figure --name=deep

Their error is 3.00 per test image (squared, summed over pixels in [0, 1]) after pretraining with
restricted Boltzmann machines and 200 epochs of conjugate gradients; PCA with 30 components has
13.87, their logistic PCA 8.01. Here SiLU units and Adam on the cross-entropy, without pretraining.
On two CPU cores 20 epochs take about 3.5 minutes, the 60 of `long` 10.
"""

import ml_collections

from configs import base

VARIANTS = ("", "debug", "long", "logistic", "layerwise", "logistic_pca")
_EPOCH = 234  # Steps of 256 examples.


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for 20 epochs; "debug" for a few steps; "long" for 60 epochs; "logistic" for the
        paper's logistic units, trained from scratch for 40 epochs; "layerwise" for the same, of
        which the first 20 epochs train one layer after the other; "logistic_pca" for 30 linear
        codes and one logistic layer that decodes them.
    """
    if arg not in VARIANTS:
        raise ValueError(f'deep_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    _epochs(config, 20)
    config.batch_size = 256
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(
        name="mlp",
        d_sae=30,
        hidden=(1000, 500, 250),
        activation=dict(name="identity"),
        nonlinearity="silu",
        output="sigmoid",
        bias="mean",
    )
    config.loss.bce = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=1e-3, warmup=0.02), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.hidden = (32, 16)
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    if arg == "long":
        _epochs(config, 60)
    if arg in ("logistic", "layerwise"):
        _epochs(config, 40)
        config.model.nonlinearity = "sigmoid"
    if arg == "layerwise":
        _pretrain(config, epochs_each=5)
    if arg == "logistic_pca":
        config.model.hidden = ()
    return config


def _epochs(config: ml_collections.ConfigDict, count: int) -> None:
    config.num_steps = count * _EPOCH
    config.eval_every = config.checkpoint_every = max(count // 10, 2) * _EPOCH


def _pretrain(config: ml_collections.ConfigDict, epochs_each: int) -> None:
    """Trains each of the four pairs of layers by itself first (Bengio et al. 2007)."""
    steps = epochs_each * _EPOCH
    whole = 4 * steps
    config.model.layerwise = True
    config.loss = ml_collections.ConfigDict(
        dict(
            layerwise=dict(
                weight=dict(name="step", value=1.0, factor=0.0, at=(whole,)), steps=steps
            ),
            bce=dict(name="linear", start=0.0, end=1.0, begin=whole, over=1),
        )
    )
