r"""One latent for what goes on over layers: a cross-layer transcoder of three random MLPs.

python -m experiments.main --config=configs/papers/cross_layer_transcoder.py

Ameisen, Lindsey et al. 2025 ("Circuit Tracing: Revealing Computational Graphs in Language Models"):
latents read one layer and write it and all after it; JumpReLU, thresholds 0.03 at the start, whose
gradient reaches all parameters; a tanh of what latents write, weighted by a ramp over the whole
run; pre-activations below their threshold cost 3e-6. Here the layers are MLPs of 64 random neurons,
half of which are the same in all three (`mlp_stack`). Weights, c and bandwidth are for its scale.
288 latents, Adam 3e-3, 3,000 steps of 256 examples.

Measured (`batch_topk`, L0 6, three seeds; table `cross_layer`): 0.048 of the variance that the
layers write is left, 0.063 if latents write their own layer alone (model.cross=False).
"""

import ml_collections

from configs import base

VARIANTS = ("", "batch_topk", "frozen", "debug")
_BATCH = 256


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for JumpReLU; "batch_topk" for an L0 that is chosen, 6; "frozen" for the same with a
        decoder that keeps its random rows; "debug" for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(
            f'cross_layer_transcoder has no variant "{arg}": it has {", ".join(VARIANTS[1:])}'
        )
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = 3000
    config.eval_every = config.checkpoint_every = config.num_steps // 3
    config.log_every = 100
    config.data.update(name="mlp_stack", split="train", seed=0, layers=3, active=0.05, repeated=0.5)
    config.model.update(name="clt", d_sae=3 * 96, cross=True)
    config.loss.mse_sum = 1.0
    if arg in ("batch_topk", "frozen"):
        config.model.activation = ml_collections.ConfigDict(dict(name="batch_topk", k=6.0))
    else:
        config.model.activation = ml_collections.ConfigDict(
            dict(name="jumprelu", start=0.03, bandwidth=0.1, to_input=True)
        )
        config.loss.tanh = ml_collections.ConfigDict(
            dict(weight=dict(name="linear", start=0.0, end=0.02), c=10.0)
        )
        config.loss.pre_activation = 3e-6
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
