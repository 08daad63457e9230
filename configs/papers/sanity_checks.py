r"""Good reconstruction, wrong features: 3,200 features in 100 dimensions, twenty active.

python -m experiments.main --config=configs/papers/sanity_checks.py
python -m experiments.main --config=configs/papers/sanity_checks.py:batch_topk

"Sanity Checks for Sparse Autoencoders" (arXiv 2602.14111), the world where all features are as
frequent: random directions, each on with probability 0.00625, lognormal strengths; as many latents
as features. The paper does not say how long it trained; here batches of 1,024, AuxK, and Adam whose
rate falls from 3e-3 to 0 over 120,000 steps, an hour of a core. k is 10 for four fifths of them and
then goes to 20: with fewer latents than there are active features each is found sooner.

Aimed at: TopK recovers 99.9 % of the features (a cosine above 0.8 with some latent), BatchTopK and
JumpReLU 3 of 3,200, where they explain about 0.67 of the variance. Found: TopK recovers 99.6 % and
explains 0.735 (MCC 0.978), as much as when it begins at the true features. A latent counts as dead
after 5,000 examples without activity, in which each feature is there some thirty times: after
100,000, 96.8 % are recovered, as latents that share a feature with another, and are seldom active,
are never given one of their own. With k = 20 throughout it was 92.0 % then; without AuxK a fifth of
the latents die. BatchTopK, over 20,000 steps, recovers none and explains 0.668, with 93 % of its
latents dead; JumpReLU, its L0 calibrated to 20, none either, with 0.668 explained.
`experiments/tables/sanity_checks.py` measures all.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "batch_topk", "jumprelu", "frozen", "debug")
_ACTIVE = 20


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    `arg` is "" for TopK, "batch_topk", "jumprelu" with a wanted L0 of 20, "frozen" for TopK that
    reads a random dictionary, or "debug" for a few steps.
    """
    if arg not in VARIANTS:
        raise ValueError(f'sanity_checks has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = 1024
    config.num_steps = 120_000
    config.checkpoint_every = config.num_steps // 12
    config.log_every = 100
    config.dead_after = 5_000
    config.data.update(
        name="independent",
        split="train",
        n_features=3200,
        d_in=100,
        active=float(_ACTIVE),
        strength="lognormal",
        seed=0,
    )
    k = dict(name="linear", start=_ACTIVE / 2, end=float(_ACTIVE), begin=0.8)
    config.model.update(name="sae", d_sae=3200, activation=dict(name="topk", k=k, relu=True))
    config.loss.update(mse_sum=1.0, auxk=dict(weight=1 / 32, relu=True))
    config.optim.update(
        name="adam", learning_rate=dict(name="linear", start=3e-3, end=0.0), constraint="unit_norm"
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(
            split="test[:20000]",
            batch_size=2000,
            metrics=("mse", "fvu", "l0", "dictionary", "support"),
        )
    )
    if arg in ("batch_topk", "jumprelu", "frozen"):
        config.num_steps = 20_000
        config.dead_after = 100_000
        config.optim.learning_rate.start = 2e-3
    if arg == "batch_topk":
        config.model.activation = dict(name="batch_topk", k=float(_ACTIVE))
    if arg == "jumprelu":
        del config.loss.auxk
        config.model.activation = dict(name="jumprelu", start=0.5, bandwidth=0.1)
        config.loss.l0_target = dict(weight=10.0, target=float(_ACTIVE), bandwidth=0.1)
        config.calibration = ml_collections.ConfigDict(
            dict(name="l0", l0=float(_ACTIVE), split="valid[:20000]")
        )
    if arg == "frozen":
        config.optim.constraint = "frozen_rows"
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, checkpoint_every=4)
        config.data.n_features = config.model.d_sae = 320
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
