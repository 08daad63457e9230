"""Fifty orthogonal features that fire together: the toy of "Sparse but Wrong" (arXiv 2508.16560).

  features  50 orthonormal rows in 100 dimensions
  on        feature i, from 1 to 50, with probability 0.345 (50 - i) / 50 + 0.05: 10.95 at a time
  together  by a Gaussian copula, whose correlations are +-U(0.3, 0.9) for 70 % of all pairs
  how much  max(1 + 0.15 N(0, 1), 0)

A dictionary of the right L0 recovers the features; with fewer latents active, one that mixes
correlated features reconstructs better than the true one does.
"""

import functools
import random

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from sae_jax.data import world

D_IN, N_FEATURES = 100, 50
COUNTS = {"train": 15_000_000, "valid": 20_000, "test": 100_000}
_CORRELATED, _LEAST, _MOST = 0.7, 0.3, 0.9


def load(split: str, seed: int = 0, correlation_seed: int = 42) -> world.World:
    """Returns a split: "train" has 15,000,000 examples, "valid" 20,000 and "test" 100,000.

    Args:
      split: or a part of it.
      seed: of the features' directions and of the codes.
      correlation_seed: of the correlations; 42 is the authors'.
    """
    directions = np.random.RandomState(seed).standard_normal((D_IN, N_FEATURES))
    root = np.linalg.cholesky(correlations(N_FEATURES, correlation_seed))
    draw = functools.partial(
        draw_codes,
        root=np.asarray(root, np.float32),
        above=np.asarray(special.ndtri(1 - probabilities(N_FEATURES)), np.float32),
    )
    features = np.linalg.qr(directions)[0].T
    return world.load("sparse_but_wrong", split, COUNTS, features, draw, seed)


def probabilities(n: int) -> np.ndarray:
    """Returns how often each feature is on, float64 `[n]`, falling."""
    return 0.345 * (n - np.arange(1, n + 1)) / n + 0.05


def correlations(n: int, seed: int) -> np.ndarray:
    """Returns a correlation matrix `[n, n]` of the copula, float64.

    Of all pairs a share of 0.7 is drawn, half of them positive, strengths uniform; what comes out
    is no correlation matrix until its negative eigenvalues are raised to 1e-6 and its diagonal is
    brought back to 1, which shrinks it.
    """
    draw = random.Random(seed)  # Of Python: so the authors' matrix can be had.
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    chosen = draw.sample(pairs, len(pairs) - int(len(pairs) * (1 - _CORRELATED)))
    positive = len(chosen) // 2
    signs = [1] * positive + [-1] * (len(chosen) - positive)
    draw.shuffle(signs)
    matrix = np.eye(n)
    for (i, j), sign in zip(chosen, signs, strict=True):
        matrix[i, j] = matrix[j, i] = sign * draw.uniform(_LEAST, _MOST)
    values, vectors = np.linalg.eigh(matrix)
    raised = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    scale = np.sqrt(np.diag(raised))
    return raised / scale[:, None] / scale[None]


def draw_codes(key: jax.Array, root: np.ndarray, above: np.ndarray) -> jax.Array:
    """Returns the codes `[n]` of one example: on where `root @ N(0, 1)` is above `above`."""
    together, size = jax.random.split(key)
    on = root @ jax.random.normal(together, above.shape) > above
    sizes = jax.nn.relu(1.0 + 0.15 * jax.random.normal(size, above.shape))
    return jnp.where(on, sizes, 0.0)
