r"""The computation of an MLP through few latents: transcoders of a random MLP.

python -m experiments.main --config=configs/papers/transcoder.py
python -m launch.local --config=configs/papers/transcoder.py --sweep=k

Dunefsky et al. 2024 (arXiv 2406.11944): y_hat = activation(x w_enc + b_enc) w_dec + b_dec for a
layer that makes y of x. Paulo et al. 2025 (arXiv 2501.18823): + x w_skip. The papers' layers are
those of language models, their activations ReLU with an L1 term, and TopK; here the layer is an MLP
of 64 random neurons (`mlp_stack`) and the activation BatchTopK, so that all have the same L0.
128 latents, Adam 3e-3, 3,000 steps of 256 examples.

Measured (three seeds, L0 3; table `transcoders`): 0.023 of the variance of the output is left, and
62 of 64 neurons are found in what latents read and in what they write; an SAE of the output leaves
0.076. A skip adds nothing where neurons are so rarely active (0.022): little in them is linear, a
regression leaves 0.78.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = ("", "skip", "outputs", "frozen", "debug")
_BATCH = 256


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for a transcoder of neurons each active in 5 % of all examples; "skip" for one with a
        linear map besides; "outputs" for an SAE that reads what the MLP writes, to compare with;
        "frozen" for a transcoder whose decoder keeps its random rows; "debug" for a few steps of
        "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'transcoder has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = 3000
    config.eval_every = config.checkpoint_every = config.num_steps // 3
    config.log_every = 100
    config.data.update(name="mlp_stack", split="train", seed=0, active=0.05, part="both")
    activation = dict(name="batch_topk", k=3.0)
    if arg == "outputs":
        config.data.part = "outputs"
        config.model.update(name="sae", d_sae=128, activation=activation)
    else:
        skip = "full" if arg == "skip" else "none"
        config.model.update(name="transcoder", d_sae=128, activation=activation, skip=skip)
    config.loss.mse_sum = 1.0
    config.loss.auxk = 1 / 32
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=3e-3, warmup=0.05, decay=0.2),
        clip_norm=1.0,
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test[:20000]", batch_size=2000, metrics=("mse", "fvu", "l0", "density"))
    )
    if arg == "frozen":
        config.optim.constraint = "frozen_rows"
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config


def k() -> sweep.Sweep:
    """How many latents are active; 3.2 neurons are, on average."""
    return sweep.grid("model.activation.k", 1.0, 2.0, 3.0, 4.0, 6.0)
