"""SynthSAEBench (arXiv 2602.14687): many features in few dimensions, rare, correlated, in trees.

  features   16,384 rows in 768 dimensions, pushed apart, and a bias of norm 0.5
  on         feature i with probability about i^-0.5, shifted and scaled to 0.4 ... 5e-4
  together   by a Gaussian copula of rank 25, scale 0.1
  trees      the first 10,880 features: 128 trees of 4 children a feature, 3 levels deep; a child is
             on only with its parent and without its siblings, and drawn more often to make up
  how much   max(mu_i + sigma_i N(0, 1), 0), mu from 5 to 4, sigma = |N(0.5, 0.5)|; times the
             parent's code over the parent's mu

About 34 features are on at a time. What is computed is other than what is written, and the same in
distribution: `sae_jax/ops/copula.py` and `forest.py` say how. One difference: a chosen sibling
whose code comes out as 0, in about one draw of 10,000, leaves no room for another. The authors'
world of that name cannot be had bit by bit: its random numbers are torch's, on a GPU.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import world
from sae_jax.ops import copula, forest as forests, orthogonal

COUNTS = {"train": 200_000_000, "valid": 20_000, "test": 100_000}
_MOST, _LEAST, _EXPONENT = 0.4, 5e-4, 0.5
_STEPS, _LEARNING_RATE, _BIAS = 100, 3e-4, 0.5


def load(
    split: str,
    n_features: int = 16_384,
    d_in: int = 768,
    roots: int = 128,
    branching: int = 4,
    depth: int = 3,
    rank: int = 25,
    correlation: float = 0.1,
    seed: int = 42,
) -> world.World:
    """Returns a split: "train" has 200,000,000 examples, "valid" 20,000 and "test" 100,000.

    Features are pushed apart once for each size and seed, and kept in the cache: with the defaults
    that is 50 MB, after about a minute on two CPU cores.

    Args:
      split: or a part of it.
      n_features: features; the most frequent are the first.
      d_in: dimensions.
      roots: trees; 0: none.
      branching: children of a feature in a tree.
      depth: levels below a root.
      rank: of the copula.
      correlation: its scale; 0: all trees, and features of none, are independent.
      seed: of all that is random, below 2**32.
    """
    try:
        forest = forests.Forest(roots, branching, depth)
    except ValueError as error:
        raise errors.DataError(f"synth_sae_bench: {error}") from error
    if forest.size > n_features:
        raise errors.DataError(
            f"synth_sae_bench: {roots} trees of depth {depth} have {forest.size} features: "
            f"n_features={n_features} are too few"
        )
    if n_features < 2 or d_in < 1 or rank < 1 or correlation < 0:
        raise errors.DataError(
            f"synth_sae_bench: n_features={n_features} must be 2 or more, d_in={d_in} and "
            f"rank={rank} 1 or more, correlation={correlation} not below 0"
        )
    of_world, of_codes, of_copula = np.random.RandomState(seed).randint(0, 2**31 - 1, 3)
    drawn = np.random.RandomState(of_world)
    bias = drawn.standard_normal(d_in)
    spread = np.abs(0.5 + 0.5 * drawn.standard_normal(n_features))
    factor = copula.factors(np.random.RandomState(of_copula), n_features, rank, correlation)
    draw = functools.partial(
        draw_codes,
        forest=forest,
        together=copula.make(forests.compensated(forest, probabilities(n_features)), factor),
        mean=np.linspace(5.0, 4.0, n_features, dtype=np.float32),
        spread=spread.astype(np.float32),
    )
    return world.load(
        "synth_sae_bench",
        split,
        COUNTS,
        features(n_features, d_in, seed),
        draw,
        int(of_codes),
        _BIAS * bias / np.linalg.norm(bias),
    )


def probabilities(n: int) -> np.ndarray:
    """Returns how often each feature is asked to be on, float64 `[n]`, falling."""
    power = np.arange(1, n + 1) ** -_EXPONENT
    return _LEAST + (_MOST - _LEAST) * (power - power[-1]) / (power[0] - power[-1])


def features(n: int, d: int, seed: int) -> np.ndarray:
    """Returns the features, float32 `[n, d]`, of norm 1; from the cache, if they are there."""

    def make() -> np.ndarray:
        rows = np.random.RandomState(seed).standard_normal((n, d)).astype(np.float32)
        return np.asarray(orthogonal.pushed_apart(rows, _STEPS, _LEARNING_RATE))

    return fetch.computed("synth_sae_bench", f"features-{n}-{d}-{seed}", (n, d), make)


def draw_codes(
    key: jax.Array,
    forest: forests.Forest,
    together: copula.Copula,
    mean: np.ndarray,
    spread: np.ndarray,
) -> jax.Array:
    """Returns the codes `[n]` of one example: those of the trees, then those of the others."""
    of_shared, of_trees, of_others = jax.random.split(key, 3)
    scores = copula.scores(together, jax.random.normal(of_shared, together.weight.shape[1:]))
    sizes = jnp.asarray(mean), jnp.asarray(spread)
    in_trees = forests.draw(of_trees, forest, scores, *sizes)
    others = slice(forest.size, None)
    chance = copula.chance(scores[others])
    # Given that it is below its chance, a uniform number over it is uniform again: one for both.
    share = copula.uniform(of_others, len(chance)) / chance
    noise = copula.normal(jnp.where(share < 1, share, 0.5))
    codes = jnp.where(share < 1, jax.nn.relu(mean[others] + spread[others] * noise), 0.0)
    return jnp.concatenate([in_trees, codes])
