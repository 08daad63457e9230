"""k-means (Lloyd 1982): points that stand for many."""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float


def centres(
    key: Array, x: Float[Array, "batch d_in"], count: int, steps: int = 10
) -> Float[Array, "count d_in"]:
    """Returns the means of `count` clusters of rows.

    They start at rows drawn without replacement, or with it where there are fewer rows; a cluster
    to which nothing falls keeps its centre.

    Args:
      key: typed PRNG key `[]`, of the draw.
      x: rows.
      count: clusters.
      steps: how often rows go to the nearest centre, and centres to the mean of their rows.
    """
    few = len(x) < count

    def move(_: Array, centres: Array) -> Array:
        distance = (centres**2).sum(axis=1)[None] - 2 * x @ centres.T
        nearest = distance.argmin(axis=1)
        size = jnp.zeros(count, x.dtype).at[nearest].add(1.0)[:, None]
        total = jnp.zeros_like(centres).at[nearest].add(x)
        return jnp.where(size > 0, total / jnp.maximum(size, 1.0), centres)

    return lax.fori_loop(0, steps, move, jax.random.choice(key, x, (count,), replace=few))
