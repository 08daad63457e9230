r"""An L0 too low mixes correlated features: BatchTopK on fifty features of which eleven fire.

python -m experiments.main --config=configs/papers/sparse_but_wrong.py
python -m launch.local --config=configs/papers/sparse_but_wrong.py --sweep=k

Chanin & Garriga-Alonso 2025 (arXiv 2508.16560): 50 latents on the world `sparse_but_wrong`, Adam
3e-4, 15 million examples in batches of 1,024; decoder rows are free and latents are not rescaled by
their norms; AuxK as SAELens has it, without which a latent is dead and a feature is missing in two
of three seeds. Published: at k = 11, the true L0, the features are recovered; at k = 5 the squared
error is 2.73, below the 4.88 of the true dictionary with five latents. Here s_n^dec, which needs no
features, is 0.236, 0.0012 and 0.063 at k = 5, 11 and 18 (one seed, n = 18).
"""

import ml_collections

from configs.papers import base
from sae_jax import sweep

VARIANTS = ("", "frozen", "debug")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    `arg` is "" for k = 11, "frozen" for a decoder that keeps its random rows, or "debug" for a few
    steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'sparse_but_wrong has no variant "{arg}": it has frozen, debug')
    config = base.get_config(arg)
    config.model.update(
        name="sae",
        d_sae=base.D_SAE,
        activation=dict(name="batch_topk", k=11.0),
        pre_bias=True,
        decoder_norm=0.1,
    )
    config.evals.test.metrics += (dict(name="s_n_dec", n=18),)
    config.loss.update(mse_sum=1.0, auxk=dict(weight=1.0, normalise=False))
    if arg == "frozen":
        config.optim.constraint = "frozen_rows"
    # At the threshold that training finds a few more latents are active than k.
    base.calibrate(config, config.model.activation.get_ref("k"))
    return config


def k() -> sweep.Sweep:
    """How many latents are active, around the true L0."""
    return sweep.grid("model.activation.k", 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 18.0)


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
