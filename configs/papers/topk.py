r"""The k largest latents of each example, with dead latents helping on what is left over.

python -m experiments.main --config=configs/papers/topk.py
python -m launch.local --config=configs/papers/topk.py --sweep=k

Gao et al. 2024 (arXiv 2406.04093): codes = ReLU(TopK((x - b_dec) w_enc + b_enc)), squared error by
the variance of the batch, AuxK with weight 1/32, rows of norm 1, Adam with an epsilon of 6.25e-10
and clipped gradients, an average of the parameters over steps evaluated. Here on the world
`sparse_but_wrong`, where the number of active features differs from example to example: the same k
for all is right for few.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'topk has no variant "{arg}": it has debug')
    config = base.get_config(arg)
    config.model.update(
        name="sae", d_sae=base.D_SAE, activation=dict(name="topk", k=11, relu=True), bias="mean"
    )
    config.loss.update(mse_normalised=1.0, auxk=dict(weight=1 / 32, relu=True))
    config.optim.update(eps=6.25e-10, constraint="unit_norm", average=0.999)
    config.dead_after = 1_000_000
    return config


def k() -> sweep.Sweep:
    """How many latents are active, around the true L0."""
    return sweep.grid("model.activation.k", 5, 7, 9, 11, 13, 15, 18)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
