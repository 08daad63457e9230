r"""ReLU and L1 by decoder norms, which leaves rows free and few latents dead.

python -m experiments.main --config=configs/papers/april_update.py
python -m launch.local --config=configs/papers/april_update.py --sweep=weight

Anthropic, "Update on how we train SAEs", April 2024: codes = ReLU(x w_enc + b_enc), squared error
and lambda sum_i f_i ||d_i||, lambda rising over the first twentieth of the run, Adam with a rate
that falls to 0 over the last fifth, inputs scaled to a mean norm of sqrt(d), rows that start small
with the encoder as their transpose. Here on the world `sparse_but_wrong`.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'april_update has no variant "{arg}": it has debug')
    config = base.get_config(arg)
    config.normaliser.name = "mean_norm"
    config.model.update(
        name="sae",
        d_sae=base.D_SAE,
        activation=dict(name="relu"),
        pre_bias=False,
        decoder_norm=0.1,
    )
    config.loss.update(mse_sum=1.0, l1_decoder_norm=dict(name="warmup", value=1.0, warmup=0.05))
    config.optim = ml_collections.ConfigDict(
        dict(
            name="adam",
            learning_rate=dict(name="trapezoid", value=3e-4, decay=0.2),
            clip_norm=1.0,
        )
    )
    return config


def weight() -> sweep.Sweep:
    """Sparsity against reconstruction: five weights of the L1 term."""
    return sweep.grid("loss.l1_decoder_norm.value", 0.3, 0.6, 1.0, 2.0, 3.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
