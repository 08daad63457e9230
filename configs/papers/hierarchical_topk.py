r"""One dictionary for every k: the errors of all budgets, or of a second one, in the loss.

python -m experiments.main --config=configs/papers/hierarchical_topk.py
python -m experiments.main --config=configs/papers/hierarchical_topk.py:multi
python -m experiments.main --config=configs/papers/hierarchical_topk.py:topk
python -m launch.local --config=configs/papers/hierarchical_topk.py --sweep=budget

Balagansky et al. 2025 (arXiv 2505.24473): TopK, and in the place of the squared error its mean over
the k largest latents alone, k from 1 to 32. Published for Gemma-2 2B: at every k as good as a
dictionary trained for that k. `multi`: TopK with 32, and 1/8 of the error with 128 (Gao et al.
2024, arXiv 2406.04093). `topk`: neither. Here on MNIST.

After 400 steps, seed 0, squared error of 4,000 test images from 4, 8, 16 and 32 latents: 20.6,
14.6, 10.6 and 8.7; `topk` has 29.5, 20.4, 12.3 and 7.7.
"""

import ml_collections

from configs.papers import switch
from sae_jax import sweep

VARIANTS = ("", "debug", "multi", "topk")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config.

    Args:
      arg: "" for the mean over budgets; "debug" for a few steps of it; "multi" for two budgets;
        "topk" for one.
    """
    if arg not in VARIANTS:
        raise ValueError(f'hierarchical_topk has no variant "{arg}": it has debug, multi, topk')
    config = switch.get_config("debug" if arg == "debug" else "")
    d_sae, k = (64, 4) if arg == "debug" else (1024, 32)
    config.model = ml_collections.ConfigDict(
        dict(name="sae", d_sae=d_sae, activation=dict(name="topk", k=k, relu=True), bias="mean")
    )
    del config.loss.load_balance
    if arg == "multi":
        config.loss.multi_topk = dict(weight=0.125, k=4 * k)
    elif arg != "topk":
        del config.loss.mse_sum
        config.loss.hierarchical_topk = dict(weight=1.0, k=k)
    return config


def budget() -> sweep.Sweep:
    """The largest budget."""
    budgets = sweep.grid("model.activation.k", 8, 16, 32, 64)
    return sweep.zipped(budgets, sweep.grid("loss.hierarchical_topk.k", 8, 16, 32, 64))


def seeds() -> sweep.Sweep:
    """Three seeds of the config as it is."""
    return sweep.grid("seed", 0, 1, 2)
