r"""BatchTopK with rows kept apart, against latents that are sums of others.

python -m experiments.main --config=configs/papers/ortsae.py
python -m launch.local --config=configs/papers/ortsae.py --sweep=weight

OrtSAE (arXiv 2509.22033): gamma times the mean, over latents, of the squared largest cosine with
another row, taken in chunks of the dictionary that are drawn anew at each step. Published for
language models: 9 % more distinct features, 65 % less absorption. Here on the world
`sparse_but_wrong`, with k below the true L0, where BatchTopK alone mixes features.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", or "debug" for a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'ortsae has no variant "{arg}": it has debug')
    config = base.get_config(arg)
    config.model.update(
        name="sae",
        d_sae=base.D_SAE,
        activation=dict(name="batch_topk", k=7.0),
        decoder_norm=0.1,
    )
    config.loss.update(mse_sum=1.0, orthogonality=dict(weight=1.0, chunks=2))
    base.calibrate(config, config.model.activation.get_ref("k"))
    return config


def weight() -> sweep.Sweep:
    """How much rows are kept apart; 0 is BatchTopK alone."""
    return sweep.grid("loss.orthogonality.weight", 0.0, 0.25, 1.0, 4.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
