r"""Decoder rows that stay near the data, and so are much the same whatever the seed.

python -m experiments.main --config=configs/papers/archetypal.py
python -m experiments.main --config=configs/papers/archetypal.py:free
python -m launch.local --config=configs/papers/archetypal.py --sweep=delta

Fel et al. 2025 (arXiv 2502.12892): TopK, rows that are mixtures of k-means centres of the data and
a slack of norm at most 1, and one learned scale. Published for vision models: dictionaries of
different seeds agree far better than TopK's, for errors about as low. Here on MNIST with 512
latents and as many centres, whose images have norms near 9; `free` is TopK with free rows.

After 600 steps, seeds 0 and 1: rows of the two, matched one to one, have a mean |cosine| of 0.802,
those of `free` 0.474; FVU is 0.233 and 0.168.
"""

import ml_collections

from configs.papers import switch
from sae_jax import sweep

VARIANTS = ("", "debug", "free")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "debug" for a few steps of it, or "free" for plain TopK."""
    if arg not in VARIANTS:
        raise ValueError(f'archetypal has no variant "{arg}": it has debug, free')
    config = switch.get_config("debug" if arg == "debug" else "")
    d_sae, k = (64, 4) if arg == "debug" else (512, 20)
    activation = dict(name="topk", k=k, relu=True)
    config.model = ml_collections.ConfigDict(
        dict(
            name="archetypal",
            d_sae=d_sae,
            activation=activation,
            points=d_sae,
            delta=1.0,
            bias="mean",
        )
    )
    config.loss = ml_collections.ConfigDict(dict(mse_sum=1.0))
    config.optim.constraint = "none"
    config.evals.test.metrics = ("mse", "fvu", "l0", "density", "dictionary")
    if arg == "free":
        config.model = ml_collections.ConfigDict(
            dict(name="sae", d_sae=d_sae, activation=activation, bias="mean")
        )
        config.optim.constraint = "unit_norm"
    return config


def delta() -> sweep.Sweep:
    """How far rows may leave the convex hull of the centres."""
    return sweep.grid("model.delta", 0.0, 0.3, 1.0, 3.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
