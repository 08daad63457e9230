r"""ProLU: a bias that decides whether a latent is active, and not how much.

python -m experiments.main --config=configs/papers/prolu.py
python -m experiments.main --config=configs/papers/prolu.py:relu
python -m launch.local --config=configs/papers/prolu.py --sweep=weight

Taggart 2024 ("ProLU: A Nonlinearity for Sparse Autoencoders"): squared error and L1, the biases
moved by one of two synthetic gradients. Published for language models: at equal L0 lower errors
than ReLU with L1. Here on the world `sparse_but_wrong` with rows of norm 1; the encoder that it is
compared with is `gated.py:l1`.

After 4,000 steps, seed 0: squared error 0.695 at L0 11.0, MCC 0.928; `relu` 1.10 at L0 9.2, MCC
0.886; ReLU with L1 0.670 at L0 11.0, MCC 0.945: no gain where codes vary as little as here.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug", "relu")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "debug" for a few steps, or "relu" for ReLU's gradients."""
    if arg not in VARIANTS:
        raise ValueError(f'prolu has no variant "{arg}": it has debug, relu')
    config = base.get_config(arg)
    gradient = "relu" if arg == "relu" else "ste"
    config.model = ml_collections.ConfigDict(
        dict(
            name="sae",
            d_sae=base.D_SAE,
            activation=dict(name="prolu", gradient=gradient),
            encoder_bias=False,
        )
    )
    config.loss.update(mse_sum=1.0, l1=dict(name="warmup", value=0.3, warmup=0.05))
    config.optim.constraint = "unit_norm"
    return config


def weight() -> sweep.Sweep:
    """Sparsity against reconstruction: five weights of the L1 term."""
    return sweep.grid("loss.l1.value", 0.1, 0.2, 0.3, 0.5, 0.8)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
