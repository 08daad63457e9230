r"""Matching pursuit as an encoder, where a linear one of the right L0 recovers all features.

python -m experiments.main --config=configs/papers/matching_pursuit.py
python -m experiments.main --config=configs/papers/matching_pursuit.py:mnist
python -m launch.local --config=configs/papers/matching_pursuit.py --sweep=k

Costa et al. 2025 (arXiv 2506.03093): squared error, rows of norm 1, each latent chosen by what
those before it have left over. Published for other data: lower errors at equal L0, and codes that
follow hierarchies; SynthSAEBench (arXiv 2602.14687) finds the lowest error and the worst features.
`mnist`: pixels, as in Costa et al. 2025 (arXiv 2506.05239).

Here on the world `sparse_but_wrong` with its other settings, seed 0: squared error 0.661 at L0
10.8, MCC 0.900, 46 of 50 features; the same after a quarter of the steps (0.642, 0.903), when
BatchTopK has 0.150 and 0.958.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug", "mnist")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for 11 steps on the world; "debug" for a few steps of training; "mnist" for 1,024
        latents and 20 steps on MNIST.
    """
    if arg not in VARIANTS:
        raise ValueError(f'matching_pursuit has no variant "{arg}": it has debug, mnist')
    config = base.get_config(arg)
    config.model = ml_collections.ConfigDict(
        dict(name="matching_pursuit", d_sae=base.D_SAE, k=11, relu=True, bias="zeros")
    )
    config.loss.mse_sum = 1.0
    config.optim.constraint = "unit_norm"
    if arg == "mnist":
        config.update(num_steps=1800, batch_size=512, eval_every=300, checkpoint_every=500)
        config.data = ml_collections.ConfigDict(dict(name="mnist", split="train", folder=""))
        config.model.update(d_sae=1024, k=20, bias="mean")
        config.optim.learning_rate = 1e-3
        config.evals.test.metrics = ("mse", "fvu", "l0", "density")
    return config


def k() -> sweep.Sweep:
    """How many steps are taken, around the true L0."""
    return sweep.grid("model.k", 5, 7, 9, 11, 13, 15, 18)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
