"""Five features that are the five numbers of an example: "Toy Models of Superposition".

  x_i = U(0, 1) with a probability that all features share, and else 0

(Elhage et al. 2022, arXiv 2209.10652.) A model of two latents has no room for five features; how
many it keeps, and at what angles, depends on how seldom they meet.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.data import world

N_FEATURES = 5
COUNTS = {"train": 1_000_000_000, "valid": 20_000, "test": 100_000}


def load(split: str, probability: float, seed: int = 0) -> world.World:
    """Returns a split: "train" has a thousand million examples, "valid" 20,000, "test" 100,000.

    Args:
      split: or a part of it.
      probability: of a feature to be on, above 0; at 1 all of them always are.
      seed: of the codes.
    """
    if not 0 < probability <= 1:
        raise errors.DataError(
            f"superposition: probability={probability}: it must be above 0 and at most 1"
        )
    draw = functools.partial(draw_codes, probability=probability)
    return world.load("superposition", split, COUNTS, np.eye(N_FEATURES), draw, seed)


def draw_codes(key: jax.Array, probability: float) -> jax.Array:
    """Returns the codes `[5]` of one example."""
    on, size = jax.random.split(key)
    sizes = jax.random.uniform(size, (N_FEATURES,))
    return jnp.where(jax.random.bernoulli(on, probability, (N_FEATURES,)), sizes, 0.0)
