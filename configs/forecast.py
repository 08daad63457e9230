r"""Reads 64 points of arterial pressure into a code of 16 numbers, and predicts the next 16 points.

python -m experiments.main --config=configs/forecast.py

About 2 minutes on two CPU cores, `mlp` 20 seconds.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "mlp", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for the recurrent autoencoder; "mlp" for one hidden layer on either side of the code,
        which sees a window as 64 numbers; "debug" for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'forecast has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 2000
    config.batch_size = 128
    config.eval_every = 500
    config.data.update(
        name="ucr_forecast",
        split="train",
        dataset="135_UCR_Anomaly_InternalBleeding16",
        folder="",
        length=64,
        horizon=16,
    )
    config.model.update(
        name="recurrent", d_sae=16, activation=dict(name="identity"), hidden=64, cell="gru"
    )
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="cosine", value=3e-3, warmup=0.02), clip_norm=10.0
    )
    for split in ("valid", "test"):
        config.evals[split] = ml_collections.ConfigDict(
            dict(split=split, batch_size=1424, metrics=("mse", "fvu", "prediction"))
        )
    if arg == "mlp":
        config.model = ml_collections.ConfigDict(
            dict(
                name="mlp",
                d_sae=16,
                hidden=(128,),
                nonlinearity="elu",
                activation=dict(name="identity"),
            )
        )
    if arg == "debug":
        config.update(num_steps=6, batch_size=32, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(d_sae=4, hidden=8)
        config.data.split = "train[:512]"
        for split in ("valid", "test"):
            config.evals[split].update(split=f"{split}[:64]", batch_size=64)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
