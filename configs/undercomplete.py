r"""Undercomplete autoencoders: fewer latents than pixels, and nothing else that keeps them honest.

python -m experiments.main --config=configs/undercomplete.py
python -m experiments.main --config=configs/undercomplete.py:deep
python -m experiments.main --config=configs/undercomplete.py:map
python -m experiments.figure --name=reduction

The textbook's 64-12-64 with sigmoids on digits of 8 x 8 pixels. PCA with as many components is what
it has to beat. Squared error per test picture, summed over pixels: PCA and `linear` 1.094, sigmoids
0.82, `deep` 0.62; in two numbers, PCA 3.37, `map` 2.30. About 20 seconds each on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "linear", "deep", "map", "mnist", "fashion", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for 64-12-64, all sigmoids, on the digits; "linear" for the same without: PCA; "deep"
        for 64-48-24-12 and back; "map" for 64-128-64-2 and back, codes that can be drawn; "mnist"
        for 784-30-784, all sigmoids, on MNIST, and "fashion" on Fashion-MNIST; "debug" for a few
        steps.
    """
    if arg not in VARIANTS:
        raise ValueError(f'undercomplete has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 8000
    config.batch_size = 200
    config.log_every = 100
    config.eval_every = config.checkpoint_every = 2000
    config.data.update(name="digits", split="train", folder="")
    config.model.update(
        name="mlp",
        d_sae=12,
        hidden=(),
        activation=dict(name="sigmoid"),
        output="sigmoid",
        bias="mean",
    )
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=3e-2, warmup=0.02), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=300, metrics=("mse", "fvu"))
    )
    if arg == "linear":
        config.model.update(activation=dict(name="identity"), output="identity")
        config.optim.learning_rate.value = 1e-2
    if arg == "deep":
        _deepen(config, (48, 24))
    if arg == "map":
        _deepen(config, (128, 64))
        config.model.d_sae = 2
        config.num_steps = 1500
    if arg in ("mnist", "fashion"):
        config.update(num_steps=6000, batch_size=500)
        config.data.name = {"mnist": "mnist", "fashion": "fashion_mnist"}[arg]
        config.model.d_sae = 30
        config.optim.learning_rate.value = 1e-2
        config.evals.test.batch_size = 2000
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
    return config


def _deepen(config: ml_collections.ConfigDict, hidden: tuple[int, ...]) -> None:
    """Puts layers of SiLU units between pixels and a linear code."""
    config.model.update(hidden=hidden, nonlinearity="silu", activation=dict(name="identity"))
    config.optim.learning_rate.value = 3e-3


def width() -> sweep.Sweep:
    """How much is lost by how many numbers, three seeds of each."""
    return sweep.product(sweep.grid("model.d_sae", 2, 4, 8, 12, 16, 24, 32), seeds())


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
