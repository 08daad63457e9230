"""Trees of features: a child is active only where its parent is, and without its siblings.

All trees have one shape. Features are numbered level by level, the roots first; the children of
the feature at place p of its level are at the places b p to b p + b - 1 of the next. So what is
active of a tree is a path that begins at its root, and a tree of any size costs `depth` choices.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax.ops import copula


@dataclasses.dataclass(frozen=True)
class Forest:
    """How many trees there are and what they look like.

    Attributes:
      roots: trees; 0: none.
      branching: children of a feature that has any.
      depth: levels below the root.
    """

    roots: int
    branching: int
    depth: int

    def __post_init__(self) -> None:
        """Refuses what does not grow."""
        if self.roots < 0 or self.branching < 1 or self.depth < 0:
            raise ValueError(
                f"roots={self.roots}, branching={self.branching}, depth={self.depth}: roots and "
                "depth must be 0 or more, branching 1 or more"
            )

    @property
    def levels(self) -> list[slice]:
        """Which features each level has, from the roots on."""
        sizes = [self.roots * self.branching**level for level in range(self.depth + 1)]
        ends = np.cumsum(sizes).tolist()
        return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    @property
    def size(self) -> int:
        """Features, over all trees."""
        return self.levels[-1].stop


def compensated(forest: Forest, probabilities: np.ndarray) -> np.ndarray:
    """Returns how often features must be drawn to be active about as often as asked, `[n]`.

      p_i / p_parent * (1 + sum of p of its siblings / p_parent),  at most 1

    undoes, for the first, that the parent must be active, for the second, to first order, that a
    sibling may be chosen. Where siblings are together more frequent than their parent nothing can:
    they fire more rarely than asked. Roots, and features of no tree, are left alone.

    Args:
      forest: of the first features.
      probabilities: wanted, float64 `[n]`, all above 0.
    """
    found = np.array(probabilities, np.float64)
    for above, level in zip(forest.levels, forest.levels[1:], strict=False):
        own = probabilities[level].reshape(-1, forest.branching)
        parent = probabilities[above][:, None]
        siblings = own.sum(axis=1, keepdims=True) - own
        found[level] = (own / parent * (1 + siblings / parent)).ravel()
    return np.minimum(found, 1.0)


def draw(
    key: Array,
    forest: Forest,
    scores: Float[Array, " n"],
    mean: Float[Array, " n"],
    spread: Float[Array, " n"],
) -> Float[Array, " size"]:
    """Returns the codes of the features of one example.

    Of siblings that would be active one is chosen, all alike. A code is
    `max(mean + spread N(0, 1), 0)`, times its parent's over its parent's mean.

    Args:
      key: typed PRNG key `[]`.
      forest: of the first features.
      scores: `copula.chance(scores)` is how often each would be active by itself.
      mean: of the codes.
      spread: standard deviation of the codes.
    """
    which, how_much = jax.random.split(key)
    b, trees = forest.branching, jnp.arange(forest.roots)
    shape = (forest.depth + 1, forest.roots, b)
    words = copula.uniform(which, math.prod(shape)).reshape(shape)
    noise = jax.random.normal(how_much, (math.prod(shape[:2]),)).reshape(shape[:2])
    path, scale, codes = jnp.zeros_like(trees), jnp.ones(forest.roots), []
    for depth, level in enumerate(forest.levels):
        width, siblings = b**depth, b if depth else 1
        asked = scores[level].reshape(forest.roots, width // siblings, siblings)
        asked = jnp.take_along_axis(asked, path[:, None, None], axis=1)[:, 0]
        # A uniform number over the chance that it is below is uniform again, given that it is: the
        # least of those below 1 is a fair choice.
        ratio = words[depth][:, :siblings] / jnp.maximum(copula.chance(asked), 1e-30)
        path = path * b + ratio.argmin(axis=1)
        number = level.start + trees * width + path
        value = jax.nn.relu(mean[number] + spread[number] * noise[depth]) * scale
        value = jnp.where(ratio.min(axis=1) < 1, value, 0.0)
        scale = value / mean[number]
        codes.append(jnp.where(jnp.arange(width)[None] == path[:, None], value[:, None], 0.0))
    return jnp.concatenate([level.ravel() for level in codes])
