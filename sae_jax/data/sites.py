"""Activations of several sites, with features that are shared and others exclusive to one.

  x^s  = sum_i codes_i strength_i^s direction_i^s       32 numbers at each site, side by side
  shared      50 features: a direction at each site; strength 1 at one site, at each other
              one between `weakest` and 1 (its logarithm is uniform)
  exclusive   10 features of each site: strength 1 there and 0 elsewhere
  codes       each on in 6 % of all examples, then max(1 + 0.25 N(0, 1), 0)

Directions are random, those of one feature at two sites too, as in two models that were trained
apart. Whether a crosscoder finds which features are exclusive can be counted; a weak share of a
site in a feature is what an L1 penalty may take away (Minder et al. 2025, arXiv 2504.02922).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.data import world
from sae_jax.ops import dictionaries

D, SHARED, EXCLUSIVE = 32, 50, 10
COUNTS = {"train": 20_000_000, "valid": 20_000, "test": 100_000}
_ON = 0.06


def load(
    split: str, seed: int = 0, sites: int = 2, weakest: float = 0.2, aligned: bool = False
) -> world.World:
    """Returns a split: "train" has 20,000,000 examples, "valid" 20,000 and "test" 100,000.

    Args:
      split: or a part of it.
      seed: of directions, strengths and codes.
      sites: 2 or more.
      weakest: least strength of a shared feature at a site, above 0 and at most 1.
      aligned: whether a shared feature has the same direction at all sites, as in a model that was
        trained on from another.
    """
    if sites < 2:
        raise errors.DataError(f"sites={sites}: it must be 2 or more")
    if not 0 < weakest <= 1:
        raise errors.DataError(f"weakest={weakest}: it must be above 0 and at most 1")
    random = np.random.RandomState(seed)
    strength = _strengths(random, sites, weakest)
    directions = random.standard_normal((len(strength), sites, D))
    if aligned:
        directions[:SHARED] = directions[:SHARED, :1]
    directions = dictionaries.unit(directions.reshape(-1, D))
    features = (strength.reshape(-1, 1) * directions).reshape(len(strength), sites * D)
    draw = functools.partial(_draw, count=len(features))
    return world.load("sites", split, COUNTS, features, draw, seed, grid=(sites, D))


def _strengths(random: np.random.RandomState, sites: int, weakest: float) -> np.ndarray:
    """Returns float64 `[n_features, sites]`, shared features first."""
    shared = weakest ** random.uniform(size=(SHARED, sites))
    shared[np.arange(SHARED), random.randint(sites, size=SHARED)] = 1.0
    return np.concatenate([shared, np.repeat(np.eye(sites), EXCLUSIVE, axis=0)])


def _draw(key: jax.Array, count: int) -> jax.Array:
    """Returns the codes of one example, `[count]`."""
    on, size = jax.random.split(key)
    sizes = jax.nn.relu(1.0 + 0.25 * jax.random.normal(size, (count,)))
    return jnp.where(jax.random.uniform(on, (count,)) < _ON, sizes, 0.0)
