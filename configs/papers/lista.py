r"""One step of LISTA before the codes are chosen: the encoder sees what it has left over.

python -m experiments.main --config=configs/papers/lista.py
python -m launch.local --config=configs/papers/lista.py --sweep=steps

Gregor & LeCun 2010, and for sparse autoencoders one step of eta 0.3 before BatchTopK (Chanin 2026,
on SynthSAEBench, where it finds more features than a linear encoder does). Here on the world
`sparse_but_wrong` with its other settings.

After 4,000 steps, seed 0: squared error 0.0002 and MCC 1.000; a linear encoder has 0.150 and 0.958
there.
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "debug", "learned")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "debug" for a few steps of it, or "learned" for eta too."""
    if arg not in VARIANTS:
        raise ValueError(f'lista has no variant "{arg}": it has debug, learned')
    config = base.get_config(arg)
    config.model = ml_collections.ConfigDict(
        dict(
            name="lista",
            d_sae=base.D_SAE,
            activation=dict(name="batch_topk", k=11.0),
            steps=1,
            eta=0.3,
            learn_eta=arg == "learned",
            decoder_norm=0.1,
        )
    )
    config.loss.mse_sum = 1.0
    base.calibrate(config, config.model.activation.get_ref("k"))
    return config


def steps() -> sweep.Sweep:
    """How often the residual is encoded."""
    return sweep.grid("model.steps", 1, 2, 4)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
