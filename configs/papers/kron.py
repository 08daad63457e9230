r"""Latents that are pairs of halves: an encoder of far fewer weights than its decoder.

python -m experiments.main --config=configs/papers/kron.py
python -m experiments.main --config=configs/papers/kron.py:dense
python -m launch.local --config=configs/papers/kron.py --sweep=halves

Kurochkin et al. 2025 (arXiv 2505.22255): TopK of the products of pairs. Published for language
models: explained variance on a par with TopK's at equal width with fewer parameters, and less
absorption. Here on MNIST: 4,096 latents of 256 heads of 4 x 4, whose encoder has half of the
columns of the `dense` TopK of 4,096.
"""

import ml_collections

from configs.papers import switch
from sae_jax import sweep

VARIANTS = ("", "debug", "dense")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config; `arg` is "", "debug" for a few steps of it, or "dense" for plain TopK."""
    if arg not in VARIANTS:
        raise ValueError(f'kron has no variant "{arg}": it has debug, dense')
    config = switch.get_config("debug" if arg == "debug" else "")
    d_sae, k = (64, 4) if arg == "debug" else (4096, 32)
    activation = dict(name="topk", k=k, relu=True)
    config.model = ml_collections.ConfigDict(
        dict(name="kron", d_sae=d_sae, activation=activation, heads=d_sae // 16, m=4, bias="mean")
    )
    del config.loss.load_balance
    if arg == "dense":
        config.model = ml_collections.ConfigDict(
            dict(name="sae", d_sae=d_sae, activation=activation, bias="mean")
        )
    return config


def halves() -> sweep.Sweep:
    """How large heads are: 4,096 latents in heads of 2 x 2, 4 x 4 and 8 x 8."""
    return sweep.zipped(sweep.grid("model.m", 2, 4, 8), sweep.grid("model.heads", 1024, 256, 64))


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
