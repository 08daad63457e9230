r"""Where L1 and the size of the dictionary are right: the toy of the first sparse autoencoders.

python -m experiments.main --config=configs/papers/sharkey.py
python -m launch.local --config=configs/papers/sharkey.py --sweep=grid

Sharkey, Braun & Millidge 2022 ("Taking features out of superposition with sparse autoencoders");
Cunningham et al. 2023 (arXiv 2309.08600): 512 features in random directions of 256 dimensions, five
active in the mean, each a hundredth rarer than the one before, uniform strengths; one ReLU layer,
decoder rows of norm 1, the encoder tied to them, mean squared error and L1, Adam 1e-3. Their L1 is
divided by the number of latents, here it is not: a weight `l1` here is one of `l1 d_sae / d_in`
there.

Aimed at, from figures: MMCS near 1 where the dictionary is as large as the truth or larger and L1
in a middle range, 0.2 to 0.3 where it is far too small or too large. The sweep `grid` is theirs,
reduced; no number is claimed here.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug")
_D_IN, _N_FEATURES = 256, 512


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "" for as many latents as features, or "debug" for few steps."""
    if arg not in VARIANTS:
        raise ValueError(f'sharkey has no variant "{arg}": it has debug')
    config = base.get_config()
    config.batch_size = 256
    config.num_steps = 20_000
    config.checkpoint_every = 5000
    config.log_every = 500
    config.data.update(
        name="independent",
        split="train",
        n_features=_N_FEATURES,
        d_in=_D_IN,
        active=5.0,
        decay=0.99,
        strength="uniform",
        seed=0,
    )
    config.model.update(
        name="sae", d_sae=_N_FEATURES, activation=dict(name="relu"), tied=True, pre_bias=False
    )
    config.loss.update(mse_sum=1.0, l1=0.1)
    config.optim.update(name="adam", learning_rate=1e-3, constraint="unit_norm")
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=5000, metrics=("mse", "fvu", "l0", "dictionary", "support"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, checkpoint_every=4)
        config.model.d_sae = 64
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def grid() -> sweep.Sweep:
    """L1, and latents by features, from half of them to four times as many."""
    sizes = (_N_FEATURES // 2, _N_FEATURES, 2 * _N_FEATURES, 4 * _N_FEATURES)
    return sweep.product(
        sweep.grid("model.d_sae", *sizes), sweep.grid("loss.l1", 0.01, 0.03, 0.1, 0.3, 1.0)
    )


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
