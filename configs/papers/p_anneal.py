r"""An L_p term whose p falls from 1 towards 0, from a norm that shrinks to a count that does not.

python -m experiments.main --config=configs/papers/p_anneal.py
python -m launch.local --config=configs/papers/p_anneal.py --sweep=weight

Karvonen et al. 2024 (arXiv 2408.00113): squared error and lambda sum_i f_i^p, p = 1 for the first
third of the run and then falling, the term kept at the size it has at p = 1; rows of norm 1. There
on models of chess and Othello; here on the world `sparse_but_wrong`.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'p_anneal has no variant "{arg}": it has debug')
    config = base.get_config(arg)
    config.model.update(name="sae", d_sae=base.D_SAE, activation=dict(name="relu"), bias="mean")
    config.loss.update(
        mse_sum=1.0, lp=dict(weight=0.3, p=dict(name="linear", start=1.0, end=0.2, begin=0.33))
    )
    config.optim.constraint = "unit_norm"
    return config


def weight() -> sweep.Sweep:
    """Sparsity against reconstruction: five weights of the term."""
    return sweep.grid("loss.lp.weight", 0.1, 0.2, 0.3, 0.5, 0.8)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
