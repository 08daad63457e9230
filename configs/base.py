"""What every experiment has; a config calls `get_config` and says what is different."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the keys that all configs share, with the defaults of those that need one."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # Fixes initial parameters, data order and every random choice.
    config.num_steps = 1000
    config.batch_size = 512  # Examples in a step, over all devices.
    config.parts = 1  # Into which a batch is cut, one after the other, to need less memory.
    config.dead_after = 100_000  # Examples without activity that make a latent dead.

    config.log_every = 50  # Steps; a row of metrics, and a chance to be stopped.
    config.eval_every = 0  # Steps; besides the evaluation at the end. 0: none.
    config.checkpoint_every = 500  # Steps; besides the one at the end. 0: none.
    config.keep_checkpoints = 2

    config.data = ml_collections.ConfigDict()
    config.corruption = ml_collections.ConfigDict(dict(name="none"))
    config.model = ml_collections.ConfigDict()
    config.loss = ml_collections.ConfigDict()
    config.normaliser = ml_collections.ConfigDict(dict(name="none"))
    config.optim = ml_collections.ConfigDict()
    config.remedy = ml_collections.ConfigDict(dict(name="none"))
    config.calibration = ml_collections.ConfigDict(dict(name="none"))
    config.evals = ml_collections.ConfigDict()
    config.mesh = ml_collections.ConfigDict(dict(data=-1, dictionary=1))
    return config
