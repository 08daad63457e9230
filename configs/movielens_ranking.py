r"""Ranks the films that a user will like, from those known to be liked: Mult-VAE on MovieLens-100k.

python -m experiments.main --config=configs/movielens_ranking.py

About 35 seconds on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "dae", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for Mult-VAE; "dae" for Mult-DAE, without sampling and prior; "debug" for a few steps
        of "".
    """
    if arg not in VARIANTS:
        raise ValueError(
            f'movielens_ranking has no variant "{arg}": it has {", ".join(VARIANTS[1:])}'
        )
    config = base.get_config()
    config.num_steps = 600
    config.batch_size = 248
    config.eval_every = 100
    config.checkpoint_every = 0
    config.data.update(
        name="movielens_implicit", split="train", folder="", fold=config.get_ref("seed")
    )
    config.corruption = ml_collections.ConfigDict(dict(name="masking", share=0.5))
    config.model.update(name="vae", d_sae=200, hidden=(600,), nonlinearity="tanh", bias="mean")
    config.loss.update(
        multinomial=1.0, gaussian_kl=dict(name="warmup", value=0.2, warmup=0.5), weight_decay=0.0
    )
    config.optim.update(name="adam", learning_rate=1e-3, clip_norm=0.0)
    for split in ("valid", "test"):
        config.evals[split] = ml_collections.ConfigDict(
            dict(split=split, batch_size=96, metrics=("ranking",))
        )
    if arg == "dae":
        config.model = ml_collections.ConfigDict(
            dict(
                name="mlp",
                d_sae=200,
                hidden=(600,),
                nonlinearity="tanh",
                activation=dict(name="identity"),
                output="sigmoid",
                bias="mean",
            )
        )
        config.loss = ml_collections.ConfigDict(dict(multinomial=1.0, weight_decay=0.0))
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(d_sae=8, hidden=(16,))
    return config


def seeds() -> sweep.Sweep:
    """Three random choices of the users and films that are held out, and three initial states."""
    return sweep.grid("seed", 0, 1, 2)
