"""Features in random directions that are on independently of one another: worlds of several papers.

  features  rows of norm 1 in random directions
  on        feature i with probability p_i = active decay^i / sum_j decay^j
  how much  U(0, 1), or LogNormal(0, 0.25): the exponential of a normal number of that deviation

Sharkey et al. 2022 and Cunningham et al. 2023 (arXiv 2309.08600): decay 0.99, 5 active of 512,
uniform. "Sanity checks" (arXiv 2602.14111): 20 active of 3,200, all as often, lognormal.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.data import world
from sae_jax.ops import dictionaries

COUNTS = {"train": 1_000_000_000, "valid": 20_000, "test": 100_000}
_SPREAD = 0.25  # Of the logarithm of a lognormal strength.


def load(
    split: str,
    n_features: int,
    d_in: int,
    active: float,
    decay: float = 1.0,
    strength: Literal["uniform", "lognormal"] = "uniform",
    seed: int = 0,
) -> world.World:
    """Returns a split: "train" has a thousand million examples, "valid" 20,000, "test" 100,000.

    Args:
      split: or a part of it.
      n_features: how many.
      d_in: width of an example.
      active: features that are on in an example, in the mean.
      decay: how much rarer each feature is than the one before.
      strength: of a feature that is on.
      seed: of directions and codes.
    """
    if strength not in ("uniform", "lognormal"):
        raise errors.DataError(
            f'independent: strength="{strength}": choose from uniform, lognormal'
        )
    often = probabilities(n_features, active, decay)
    if not 0 < often.max() < 1:
        raise errors.DataError(
            f"independent: active={active} of {n_features} features is a probability of "
            f"{often.max():.3g}: it must be between 0 and 1"
        )
    edges = np.cumsum(-np.log1p(-often))
    draw = functools.partial(draw_codes, edges=edges.astype(np.float32), strength=strength)
    features = np.random.RandomState(seed).standard_normal((n_features, d_in))
    return world.load("independent", split, COUNTS, dictionaries.unit(features), draw, seed)


def probabilities(n: int, active: float, decay: float) -> np.ndarray:
    """Returns how often each feature is on, float64 `[n]`; their sum is `active`."""
    falling = decay ** np.arange(n)
    return active * falling / falling.sum()


def draw_codes(key: jax.Array, edges: np.ndarray, strength: str) -> types.Codes:
    """Returns the codes of one example.

    Points fall on a line at random, one on each unit of length in the mean. Feature i has a piece
    of length -log(1 - p_i), which ends at `edges[i]`, and is on if a point falls there: so numbers
    are drawn for features that are on, not for all.
    """
    where, size = jax.random.split(key)
    length = float(edges[-1])
    most = round(length + 8 * length**0.5 + 8)  # No example in 1e12 has more points.
    place = jnp.cumsum(jax.random.exponential(where, (most,)))
    feature = jnp.searchsorted(jnp.asarray(edges), place)
    first = jnp.concatenate([jnp.ones(1, bool), feature[1:] != feature[:-1]])
    if strength == "uniform":
        strengths = jax.random.uniform(size, (most,))
    else:
        strengths = jnp.exp(_SPREAD * jax.random.normal(size, (most,)))
    on = first & (feature < len(edges))
    last = len(edges) - 1
    return types.Codes(jnp.where(on, strengths, 0.0), jnp.minimum(feature, last), len(edges))
