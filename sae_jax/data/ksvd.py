"""Signals made of three atoms out of fifty, with noise: the synthetic test of K-SVD.

  features  50 rows of norm 1 in random directions of 20 dimensions
  on        three of them, any three
  how much  N(0, 1)
  noise     normal, at a signal-to-noise ratio of mean squares given in dB

(Aharon, Elad & Bruckstein 2006; normal numbers as in the authors' program, where the paper has
uniform ones.) There are 1,500 signals to learn from, and no more: an epoch is all of them.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.data import world
from sae_jax.ops import dictionaries

D_IN, N_FEATURES, ACTIVE = 20, 50, 3
COUNTS = {"train": 1500, "test": 10_000}


def load(split: str, snr: float | None = 20.0, seed: int = 0) -> world.World:
    """Returns a split: "train" has 1,500 signals, "test" 10,000.

    Args:
      split: or a part of it.
      snr: mean square of signals over that of noise, in dB; None for no noise.
      seed: of atoms, codes and noise.
    """
    features = dictionaries.unit(np.random.RandomState(seed).standard_normal((N_FEATURES, D_IN)))
    noise = 0.0 if snr is None else math.sqrt(ACTIVE / D_IN) * 10 ** (-snr / 20)
    return world.load("ksvd", split, COUNTS, features, draw_codes, seed, noise=noise)


def draw_codes(key: jax.Array) -> jax.Array:
    """Returns the codes `[50]` of one signal."""
    which, size = jax.random.split(key)
    chosen = jax.random.permutation(which, N_FEATURES)[:ACTIVE]
    return jnp.zeros(N_FEATURES).at[chosen].set(jax.random.normal(size, (ACTIVE,)))
