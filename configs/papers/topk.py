r"""The k largest latents of each example, with dead latents helping on what is left over.

python -m experiments.main --config=configs/papers/topk.py
python -m launch.local --config=configs/papers/topk.py --sweep=k

Gao et al. 2024 (arXiv 2406.04093): codes = ReLU(TopK((x - b_dec) w_enc + b_enc)), squared error by
the variance of the batch, AuxK with weight 1/32, rows of norm 1, Adam with an epsilon of 6.25e-10
and clipped gradients, an average of the parameters over steps evaluated. Here on the world
`sparse_but_wrong`, where the number of active features differs from example to example: the same k
for all is right for few.

`group_max` keeps the largest of each of k groups of latents instead. In `aligned` encoders read
back exactly what their decoder rows write, <e_i, d_i> = 1 ("Aligned training", arXiv 2605.18629).

Measured (seed 0, k = 11): MCC 0.915, FVU 0.074; aligned 0.942 and 0.068; groups of five, which are
in the way of features that come together, 0.209 and 0.166.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "group_max", "aligned", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "group_max", "aligned", or "debug" for a few steps."""
    if arg not in VARIANTS:
        raise ValueError(f'topk has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config(arg)
    config.model.update(
        name="sae", d_sae=base.D_SAE, activation=dict(name="topk", k=11, relu=True), bias="median"
    )
    config.loss.update(mse_normalised=1.0, auxk=dict(weight=1 / 32, relu=True))
    config.optim.update(eps=6.25e-10, constraint="unit_norm", average=0.999)
    config.dead_after = 1_000_000
    if arg == "group_max":
        config.model.activation = dict(name="group_max", k=10)  # 50 latents in groups of five.
    if arg == "aligned":
        config.model.aligned = True
    return config


def k() -> sweep.Sweep:
    """How many latents are active, around the true L0."""
    return sweep.grid("model.activation.k", 5, 7, 9, 11, 13, 15, 18)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
