r"""A gate of its own for each latent, so that an L1 term shrinks no code.

python -m experiments.main --config=configs/papers/gated.py
python -m experiments.main --config=configs/papers/gated.py:l1
python -m launch.local --config=configs/papers/gated.py --sweep=weight

Rajamanoharan et al. 2024 (arXiv 2404.16014): ||x - x_hat||^2 + lambda sum ReLU(pre) + the error of
ReLU(pre) with the decoder held, rows of norm 1, Adam 3e-4 with beta1 0. Published for language
models: lower errors at equal L0 than an L1 term on codes, which makes reconstructions too small; a
gated encoder has no such shrinkage. Here on the world `sparse_but_wrong`; `l1` is the encoder that
shrinks, with the same lambda.

After 4,000 steps, seed 0: squared error 0.050 at L0 16.6, MCC 0.871; `l1` 0.670 at L0 11.0, MCC
0.945. So the errors are those of no shrinkage, but at this lambda features are mixed.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug", "l1")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "debug" for a few steps of it, or "l1" for ReLU and L1."""
    if arg not in VARIANTS:
        raise ValueError(f'gated has no variant "{arg}": it has debug, l1')
    config = base.get_config(arg)
    config.model = ml_collections.ConfigDict(dict(name="gated", d_sae=base.D_SAE))
    weight = dict(name="warmup", value=0.3, warmup=0.05)
    config.loss.update(mse_sum=1.0, gate_l1=weight, gate_reconstruction=1.0)
    config.optim.update(constraint="unit_norm", b1=0.0)
    if arg == "l1":
        config.model = ml_collections.ConfigDict(
            dict(name="sae", d_sae=base.D_SAE, activation=dict(name="relu"))
        )
        config.loss = ml_collections.ConfigDict(dict(mse_sum=1.0, l1=weight))
    return config


def weight() -> sweep.Sweep:
    """Sparsity against reconstruction: five weights of the gate's L1 term."""
    return sweep.grid("loss.gate_l1.value", 0.1, 0.2, 0.3, 0.5, 0.8)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
