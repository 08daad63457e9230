r"""TopK on the activations of a language model: text to features in one command.

python -m experiments.main --config=configs/llm_topk.py
python -m experiments.main --config=configs/llm_topk.py:relu

A small language model reads the leads of Wikipedia articles (`configs/dumps/glassllm.py`, extra
`llm`), its residual stream is written to disk, and an autoencoder of eight times its width is
trained on it: TopK with AuxK (Gao et al. 2024, arXiv 2406.04093), or another method.
"""

import ml_collections

from configs import base
from sae_jax import sweep

VARIANTS = (
    *("", "relu", "batch_topk", "jumprelu", "matryoshka", "transcoder", "crosscoder", "stream"),
    *("debug", "stream_debug"),
)
_K = 16
_D_SAE = 1024


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    `arg` is "" for TopK, "relu" with L1, "batch_topk", "jumprelu" with a wanted L0, "matryoshka",
    "transcoder" of an MLP, "crosscoder" of two blocks, "stream" for activations that are made while
    they are trained on, and kept nowhere, or "debug" and "stream_debug" for a few steps.
    """
    if arg not in VARIANTS:
        raise ValueError(f'llm_topk has no variant "{arg}": it has {", ".join(VARIANTS[1:])}')
    config = base.get_config()
    config.num_steps = 3000
    config.batch_size = 1024
    config.checkpoint_every = 1500
    config.data.update(
        name="activations",
        split="train",
        store=("stores/glassllm",),
        weights=(),  # How much of a batch each store gives; none for as much as it holds.
        block=1,  # Rows that are read together.
        damaged="refuse",  # Or "skip": damaged shards are left out.
        checksums=True,  # Are shards as they were written? They are read once; False for terabytes.
        recipe="configs/dumps/glassllm.py",
        site="resid_post.1",
    )
    config.normaliser.name = "mean_norm"
    config.model.update(
        name="sae",
        d_sae=_D_SAE,
        activation=dict(name="topk", k=_K, relu=True),
        bias="median",
    )
    config.loss.update(mse_normalised=1.0, auxk=1 / 32)
    config.optim.update(
        name="adam",
        learning_rate=dict(name="trapezoid", value=1e-3, warmup=0.05, decay=0.2),
        constraint="unit_norm",
        clip_norm=1.0,
    )
    config.evals.test = ml_collections.ConfigDict(
        dict(split="test", batch_size=1024, metrics=("mse", "fvu", "l0", "density"))
    )
    _VARIANTS.get(arg, lambda config: None)(config)
    return config


def _relu(config: ml_collections.ConfigDict) -> None:
    config.model.activation = dict(name="relu")
    config.loss = dict(mse_normalised=1.0, l1=dict(name="warmup", value=0.03, warmup=0.2))


def _batch_topk(config: ml_collections.ConfigDict) -> None:
    config.model.activation = dict(name="batch_topk", k=float(_K))
    config.calibration = dict(name="l0", l0=float(_K), split="valid")


def _jumprelu(config: ml_collections.ConfigDict) -> None:
    config.model.activation = dict(name="jumprelu", start=0.1, bandwidth=0.1)
    config.loss = dict(
        mse_normalised=1.0, l0_target=dict(weight=0.1, target=float(_K), bandwidth=0.1)
    )
    config.calibration = dict(name="l0", l0=float(_K), split="valid")


def _matryoshka(config: ml_collections.ConfigDict) -> None:
    _batch_topk(config)
    config.loss = dict(matryoshka=dict(weight=1.0, prefixes=(1 / 16, 1 / 4, 1.0)), auxk=1 / 32)


def _transcoder(config: ml_collections.ConfigDict) -> None:
    config.data.update(site="mlp_in.2", target="mlp_out.2")
    config.normaliser.name = "none"
    config.model = dict(
        name="transcoder", d_sae=_D_SAE, activation=dict(name="topk", k=_K, relu=True)
    )


def _crosscoder(config: ml_collections.ConfigDict) -> None:
    with config.data.ignore_type():
        config.data.site = ("resid_post.1", "resid_post.2")
    config.model = dict(
        name="crosscoder", d_sae=_D_SAE, activation=dict(name="batch_topk", k=float(_K))
    )
    config.optim.constraint = "none"


def _stream(config: ml_collections.ConfigDict) -> None:
    config.data = dict(
        name="stream",
        split="train",
        recipe=config.data.recipe,
        site=config.data.site,
        buffer=2**16,
    )


def _stream_debug(config: ml_collections.ConfigDict) -> None:
    _debug(config)
    _stream(config)
    config.data.buffer = 256


def _debug(config: ml_collections.ConfigDict) -> None:
    config.update(num_steps=6, batch_size=64, log_every=2, checkpoint_every=4)
    config.data.update(store=("stores/glassllm-debug",), recipe="configs/dumps/glassllm.py:debug")
    config.evals.test.batch_size = 64


_VARIANTS = {
    "relu": _relu,
    "batch_topk": _batch_topk,
    "jumprelu": _jumprelu,
    "matryoshka": _matryoshka,
    "transcoder": _transcoder,
    "crosscoder": _crosscoder,
    "stream": _stream,
    "debug": _debug,
    "stream_debug": _stream_debug,
}


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)


def k() -> sweep.Sweep:
    """From few active latents to many."""
    return sweep.grid("model.activation.k", 4, 8, 16, 32, 64)
