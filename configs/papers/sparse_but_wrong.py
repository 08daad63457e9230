r"""An L0 too low mixes correlated features: BatchTopK on fifty features of which eleven fire.

python -m experiments.main --config=configs/papers/sparse_but_wrong.py
python -m launch.local --config=configs/papers/sparse_but_wrong.py --sweep=k

Chanin & Garriga-Alonso 2025 (arXiv 2508.16560): 50 latents on the world `sparse_but_wrong`, Adam
3e-4, 15 million examples in batches of 1,024; decoder rows are free and latents are not rescaled by
their norms. Published: at k = 11, the true L0, the features are recovered; at k = 5 the squared
error is 2.73, below the 4.88 of the true dictionary with five latents.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug")
_BATCH = 1024


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "" for k = 11, or "debug" for a few steps of it."""
    if arg not in VARIANTS:
        raise ValueError(f'sparse_but_wrong has no variant "{arg}": it has debug')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = 15_000_000 // _BATCH
    config.eval_every = config.checkpoint_every = config.num_steps // 4
    config.log_every = 100
    config.data.update(name="sparse_but_wrong", split="train", seed=0)
    config.model.update(
        name="sae",
        d_sae=50,
        activation=dict(name="batch_topk", k=11.0),
        pre_bias=True,
        decoder_norm=0.1,
    )
    config.loss.mse_sum = 1.0
    config.optim.update(name="adam", learning_rate=3e-4, clip_norm=1.0)
    # Of the threshold that training found more latents are active; the wanted L0 is k itself.
    config.calibration = ml_collections.ConfigDict(dict(name="l0", split="valid"))
    config.calibration.l0 = config.model.activation.get_ref("k")
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu", "l0", "dictionary", "support"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.calibration.split = "valid[:256]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def k() -> sweep.Sweep:
    """How many latents are active, around the true L0."""
    return sweep.grid("model.activation.k", 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 18.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
