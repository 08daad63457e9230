r"""Which features do two models share? Crosscoders on two sites whose features are known.

python -m experiments.main --config=configs/papers/crosscoder.py
"""

import ml_collections

from configs import base

VARIANTS = ("", "l1", "designated", "debug")
_BATCH = 1024


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for BatchTopK (Minder et al. 2025); "l1" for ReLU and L1 (Lindsey et al. 2024);
        "designated" for L1 with latents that are shared by design; "debug" for a few steps of "".
    """
    if arg not in VARIANTS:
        raise ValueError(f'crosscoder has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.batch_size = _BATCH
    config.num_steps = 10_000
    config.eval_every = config.checkpoint_every = config.num_steps // 4
    config.log_every = 100
    config.data.update(name="sites", split="train", seed=0, sites=2, weakest=0.2)
    config.model.update(name="crosscoder", d_sae=256, decoder_norm=0.1)
    config.loss.mse_sum = 1.0
    if arg in ("l1", "designated"):
        config.model.activation = ml_collections.ConfigDict(dict(name="relu"))
        name = "l1_decoder_norm" if arg == "l1" else "l1_designated"
        config.loss[name] = ml_collections.ConfigDict(
            dict(weight=dict(name="warmup", value=0.2, warmup=0.05))
        )
        if arg == "designated":
            config.model.shared = 0.5
            config.loss[name].shared = 0.5
    else:
        config.model.update(activation=dict(name="batch_topk", k=7.0), rescale=True)
        config.loss.auxk = 1 / 32
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=1e-3, warmup=0.05, decay=0.2),
        clip_norm=1.0,
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(
            split="test",
            batch_size=2000,
            metrics=("mse", "fvu", "l0", "density", "dictionary", "exclusive"),
        )
    )
    if arg == "debug":
        config.update(num_steps=6, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.evals.test.update(split="test[:256]", batch_size=128)
    return config
