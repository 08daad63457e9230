r"""A router and small dictionaries, each image for one of them: wide at the price of a narrow one.

python -m experiments.main --config=configs/papers/switch.py
python -m experiments.main --config=configs/papers/switch.py:dense
python -m launch.local --config=configs/papers/switch.py --sweep=experts

Mudide et al. 2024 (arXiv 2410.08201): TopK inside of the chosen expert, rows of norm 1, a term that
balances the load, of weight 3 beside a normalised error (0.01 in the authors' code). Published for
GPT-2: lower errors than TopK for equal arithmetic, higher ones for equal width, as features are
learned by several experts. Here on MNIST, with AuxK; `dense` is TopK of the width of one expert,
for equal arithmetic. 160 is 3 times the variance of an image, as the error is not normalised: with
0.01 one of the eight experts had got all images after 400 steps.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "debug", "dense")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for 8 experts of 512 latents; "debug" for a few steps of it, smaller; "dense" for one
        TopK dictionary of 512.
    """
    if arg not in VARIANTS:
        raise ValueError(f'switch has no variant "{arg}": it has debug, dense')
    config = base.get_config()
    config.num_steps = 1800
    config.eval_every = 300
    config.data.update(name="mnist", split="train", folder="")
    config.model.update(name="switch", d_sae=4096, experts=8, k=32, bias="mean")
    config.loss.update(mse_sum=1.0, load_balance=160.0, auxk=dict(weight=1 / 32, k=64))
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=1e-3, warmup=0.05, decay=0.2),
        constraint="unit_norm",
        clip_norm=1.0,
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu", "l0", "density"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(d_sae=64, experts=4, k=4)
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    if arg == "dense":
        config.model = ml_collections.ConfigDict(
            dict(name="sae", d_sae=512, activation=dict(name="topk", k=32, relu=True), bias="mean")
        )
        del config.loss.load_balance
    return config


def experts() -> sweep.Sweep:
    """How many experts the 4,096 latents are cut into."""
    return sweep.grid("model.experts", 2, 8, 32)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
