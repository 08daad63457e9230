r"""Fills in the ratings of MovieLens-100k: AutoRec.

python -m experiments.main --config=configs/movielens.py

About 20 seconds on two CPU cores.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "users", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for films as examples; "users" for users; "debug" for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'movielens has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 600
    config.batch_size = 512
    config.checkpoint_every = 200
    config.eval_every = 150
    config.data.update(
        name="movielens", split="train", folder="", by="item", fold=config.get_ref("seed")
    )
    config.model.update(name="mlp", d_sae=500, activation=dict(name="sigmoid"))
    config.loss.update(mse_observed=1.0, weight_decay=0.15)
    config.optim.update(
        name="adam", learning_rate=dict(name="trapezoid", value=1e-3, decay=0.5), clip_norm=0.0
    )
    for split in ("valid", "test"):
        config.evals[split] = ml_collections.ConfigDict(
            dict(split=split, batch_size=844, metrics=("rating_error",))
        )
    if arg == "users":
        config.data.by = "user"
        config.batch_size = 312  # 943 users are three batches and seven left out.
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.d_sae = 16
    return config


def seeds() -> sweep.Sweep:
    """Three random splits of the ratings, and three initial states."""
    return sweep.grid("seed", 0, 1, 2)
