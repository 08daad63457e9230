r"""Which features do two models share? Crosscoders of two sites whose features are known.

python -m experiments.main --config=configs/papers/crosscoder.py
python -m launch.local --config=configs/papers/crosscoder.py --sweep=k

Lindsey et al. 2024 ("Sparse Crosscoders for Cross-Layer Features and Model Diffing"): ReLU and
sum_i f_i sum_s ||d_i^s||. Minder et al. 2025 (arXiv 2504.02922): BatchTopK of f_i sum_s ||d_i^s||;
L1, they find, takes shared latents for exclusive ones. Mishra-Sharma et al. 2025 ("Insights on
Crosscoder Model Diffing"): half of the latents equal at all sites by design, for half the penalty.
Their sites are language models; here they are two of 32 numbers with 50 shared features and 10
exclusive ones each (`sites`), 4.2 of all on at a time. 96 latents, Adam 3e-3, 3,000 steps of 256
examples.

Measured (three seeds; table `crosscoders`): with L1, at L0 6.1, 22 % of the exclusive latents stand
for a shared feature, with BatchTopK none; nor with L1 on the norm of the whole row, where two
latents of one site each cost more than one of both (`l1`, model.norm="whole"). All find each
exclusive feature, but BatchTopK with a k above the true L0, 7, only 70 % of them.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "l1", "designated", "frozen", "debug")
_BATCH = 256


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for BatchTopK (Minder et al.); "l1" for ReLU and L1 (Lindsey et al.); "designated" for
        L1 with latents that are shared by design, on sites where shared features have the same
        direction and strength; "frozen" for BatchTopK whose decoder keeps its random rows; "debug"
        for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'crosscoder has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = 3000
    config.eval_every = config.checkpoint_every = config.num_steps // 3
    config.log_every = 100
    config.data.update(name="sites", split="train", seed=0, weakest=0.2, aligned=False)
    config.model.update(name="crosscoder", d_sae=96, norm="sum")
    config.loss.mse_sum = 1.0
    if arg in ("l1", "designated"):
        config.model.activation = ml_collections.ConfigDict(dict(name="relu"))
        weight = dict(name="warmup", value=0.2, warmup=0.05)
        if arg == "l1":
            config.loss.l1_decoder_norm = ml_collections.ConfigDict(weight)
        else:
            config.data.update(weakest=1.0, aligned=True)
            config.model.shared = 0.5
            config.loss.l1_designated = ml_collections.ConfigDict(dict(weight=weight, shared=0.5))
    else:
        config.model.update(activation=dict(name="batch_topk", k=4.2), rescale=True)
        config.loss.auxk = 1 / 32
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=3e-3, warmup=0.05, decay=0.2),
        clip_norm=1.0,
    )
    metrics = ("mse", "fvu", "l0", "density", "dictionary", "exclusive")
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test[:20000]", batch_size=2000, metrics=metrics)
    )
    if arg == "frozen":
        config.optim.constraint = "frozen_rows"
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def k() -> sweep.Sweep:
    """How many latents are active, around the true L0."""
    return sweep.grid("model.activation.k", 3.0, 4.2, 6.0, 8.0)
