"""What papers without a data set of their own are tried on: fifty features, of which eleven fire.

The features of the world `sparse_but_wrong` are known, and correlated as those of language models
are; a run of 15 million examples takes some three minutes on two CPU cores.
"""

import ml_collections

from configs import base

_BATCH = 1024
_EXAMPLES = 15_000_000
D_SAE = 50


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config without model and loss; `arg` "debug" makes it a few steps."""
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = _EXAMPLES // _BATCH
    config.eval_every = config.checkpoint_every = config.num_steps // 4
    config.log_every = 100
    config.data.update(name="sparse_but_wrong", split="train", seed=0)
    config.optim.update(name="adam", learning_rate=3e-4, clip_norm=1.0)
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu", "l0", "dictionary", "support"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.evals.test.update(split="test[:256]", batch_size=128)
        config.data.split = "train[:2048]"
    return config


def calibrate(config: ml_collections.ConfigDict, l0: float | ml_collections.FieldReference) -> None:
    """Has thresholds set, after training, to a mean L0 on held-out examples."""
    split = "valid[:256]" if config.num_steps < 10 else "valid"
    config.calibration = ml_collections.ConfigDict(dict(name="l0", split=split))
    config.calibration.l0 = l0
