r"""Variational autoencoders on binarised MNIST: 784-200-200-50, one layer of latents.

python -m experiments.main --config=configs/vae_mnist.py
python -m experiments.main --config=configs/vae_mnist.py:iwae50
python -m experiments.figure --name=iwae

The network and the bounds of Burda et al. 2015 (arXiv 1509.00519), pixels drawn anew at each step
from their grey values. Its hidden layers are ELU, not tanh: after 30 epochs that is worth 2.5 nats,
and 60 epochs have to do for the paper's 3,280 (50 of `iwae50`). On two CPU cores they take about 3
minutes, and 3 more the likelihood of the test images by 5,000 draws each; `iwae5` trains for 9,
`iwae50` for 21.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "iwae5", "iwae50", "beta", "capacity", "gaussian", "two_dim", "debug")
_DRAWS = {"iwae5": 5, "iwae50": 50}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for the evidence lower bound of one draw; "iwae5" and "iwae50" for the bounds of 5 and
        50 importance-weighted draws, of which "iwae50" gives 5 a gradient; "beta" for a KL that
        weighs four times (Higgins et al. 2017) and ten latents; "capacity" for ten latents and a KL
        held at C, from 0 to 25 nats (Burgess et al. 2018); "gaussian" for grey pixels and a normal
        likelihood; "two_dim" for two latents, which make a map; "debug" for a few steps on a few
        examples.
    """
    if arg not in VARIANTS:
        raise ValueError(f'vae_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 60 * 1000
    config.batch_size = 60
    config.log_every = 500
    config.checkpoint_every = 6000
    config.data.update(name="mnist", split="train", folder="")
    config.corruption.name = "binarise"
    config.model.update(
        name="vae", d_sae=50, hidden=(200, 200), nonlinearity="elu", output="sigmoid", bias="mean"
    )
    config.loss.update(expected_nll=1.0, gaussian_kl=1.0)
    config.optim.update(
        name="adam",
        eps=1e-4,
        learning_rate=dict(name="exponential", start=3e-3, end=1e-4),
        clip_norm=0.0,
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(
            split="test",
            batch_size=100,
            metrics=(dict(name="nll", samples=5000), "active_units", "mse", "fvu"),
            corruption=dict(name="binarise"),
        )
    )
    if arg in _DRAWS:
        config.model.samples = _DRAWS[arg]
        config.loss = ml_collections.ConfigDict(dict(iwae=1.0))
    if arg == "iwae50":
        config.model.kept = 5
        config.num_steps = 50 * 1000
    if arg == "beta":
        config.model.d_sae = 10
        config.loss.gaussian_kl = 4.0
    if arg == "capacity":
        config.model.d_sae = 10
        capacity = dict(name="linear", start=0.0, end=25.0, over=0.8)
        config.loss = ml_collections.ConfigDict(
            dict(expected_nll=1.0, kl_capacity=dict(weight=100.0, capacity=capacity))
        )
    if arg == "gaussian":
        config.corruption.name = "none"
        config.evals.test.corruption.name = "none"
        config.model.update(output="identity", sigma=0.1)
    if arg == "two_dim":
        config.model.d_sae = 2
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.update(d_sae=8, hidden=(16, 16), samples=3)
        config.data.split = "train[:512]"
        metrics = (dict(name="nll", samples=10), "active_units", "mse", "fvu")
        config.evals.test.update(split="test[:256]", batch_size=128, metrics=metrics)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
