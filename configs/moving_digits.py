r"""Reads ten frames of two bouncing digits into a code, writes them again, and the next ten.

python -m experiments.main --config=configs/moving_digits.py

About 3.5 minutes on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "" or "debug", a few steps of it on small films."""
    if arg not in VARIANTS:
        raise ValueError(f'moving_digits has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 1000
    config.batch_size = 64
    config.eval_every = 250
    config.data.update(
        name="moving_digits", split="train", folder="", count=10_000, frames=10, future=10, size=32
    )
    config.model.update(
        name="recurrent",
        d_sae=256,
        activation=dict(name="identity"),
        hidden=512,
        cell="gru",
        feedback=False,
        output="sigmoid",
        bias="mean",
    )
    config.loss.bce = 1.0
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=1e-3, warmup=0.02, decay=0.4),
        clip_norm=0.0,
    )
    for split in ("valid", "test"):
        config.evals[split] = ml_collections.ConfigDict(
            dict(
                split=f"{split}[:1000]",
                batch_size=200,
                metrics=("fvu", dict(name="prediction", width=32 * 32)),
            )
        )
    if arg == "debug":
        config.update(num_steps=4, batch_size=16, log_every=2, eval_every=2, checkpoint_every=2)
        config.data.update(count=64, frames=3, future=2, size=8, digit=4)
        config.model.update(d_sae=8, hidden=8)
        for split in ("valid", "test"):
            config.evals[split].update(
                split=f"{split}[:32]",
                batch_size=32,
                metrics=("fvu", dict(name="prediction", width=8 * 8)),
            )
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
