r"""A k-sparse autoencoder on MNIST: 1,000 linear latents, tied, of which the k largest are kept.

python -m experiments.main --config=configs/k_sparse_mnist.py
python -m experiments.main --config=configs/k_sparse_mnist.py:40
python -m launch.local --config=configs/k_sparse_mnist.py --sweep=k
python -m experiments.figure --name=k_sparse

Makhzani & Frey 2013 (arXiv 1312.5663): squared error and nothing else; k falls linearly from 100 to
its end during the first half of the run. Logistic regression on the codes, of which alpha k are
kept then, has 1.35 % errors on the test images at k = 25 there, 1.54 % at 40 and 2.10 % at 10.

Trained on 50,000 images for 25 epochs, with three times k latents kept, regression on the same and
10,000 other training images to test it: 2.15 % at k = 10, 1.72 % at 25, 1.79 % at 40. The rows of
the untrained encoder there: 6.6 %. About 140 seconds on two CPU cores, before the regression.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "10", "40", "70", "100", "debug")
_EPOCHS = 25
_BATCH = 240


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for k = 25; "10", "40", "70" and "100" for that k; "debug" for a few steps.
    """
    if arg not in VARIANTS:
        raise ValueError(f'k_sparse_mnist has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = _EPOCHS * 60_000 // _BATCH
    config.eval_every = config.checkpoint_every = config.num_steps // 4
    config.log_every = 100
    config.data.update(name="mnist", split="train", folder="")
    k = float(arg) if arg.isdigit() else 25.0
    config.model.update(
        name="sae",
        d_sae=1000,
        activation=dict(
            name="topk", k=dict(name="linear", start=100.0, end=k, over=0.5), alpha=1.0, relu=False
        ),
        tied=True,
        pre_bias=False,
        decoder_norm=0.3,
    )
    config.loss.mse_sum = 1.0
    config.optim.update(
        name="adam", learning_rate=dict(name="trapezoid", value=1e-3, decay=0.3), clip_norm=0.0
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=2000, metrics=("mse", "fvu", "l0", "density"))
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.model.d_sae = 64
        config.model.activation.k.update(start=16.0, end=4.0)
        config.data.split = "train[:512]"
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def k() -> sweep.Sweep:
    """How many latents are kept: five numbers, three seeds of each."""
    return sweep.product(
        sweep.grid("model.activation.k.end", 10.0, 25.0, 40.0, 70.0, 100.0), seeds()
    )


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
