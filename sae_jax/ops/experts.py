"""Products in which each example meets the columns of its own expert, and no others.

Columns stand in equal blocks, one for each expert. Examples are dealt onto tiles of equal size,
each of which belongs to one expert: a tile is multiplied with one block. However uneven the
experts' shares are, no example is dropped, and at most one tile an expert is not full, so

  (batch + experts * tile) d_in columns / experts

multiplications are made in the place of `batch d_in columns`.
"""

import math

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_TILE = 32  # Rows: fewer waste less where experts are many, more are multiplied faster.


def product(
    x: Float[Array, "batch d_in"],
    w: Float[Array, "d_in columns"],
    expert: Int[Array, " batch"],
    experts: int,
) -> Float[Array, "batch block"]:
    """Returns `x_b w_e`, w_e the columns of the example's expert. No gradient passes.

    Args:
      x: examples.
      w: the blocks of all experts side by side.
      expert: of each example, from 0 to `experts - 1`.
      experts: how many; they divide the columns.
    """
    x, w = lax.stop_gradient((x, w))
    batch, d_in = x.shape
    blocks = w.reshape(d_in, experts, -1)
    tiles = math.ceil(batch / _TILE) + experts
    mine = jax.nn.one_hot(expert, experts, dtype=jnp.int32)
    ends = jnp.cumsum(-(mine.sum(axis=0) // -_TILE))  # Of each expert's tiles.
    rank = jnp.take_along_axis(jnp.cumsum(mine, axis=0), expert[:, None], axis=1)[:, 0] - 1
    first = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    place = first[expert] * _TILE + rank
    dealt = jnp.zeros((tiles * _TILE, d_in), x.dtype).at[place].set(x)
    owner = jnp.minimum(jnp.searchsorted(ends, jnp.arange(tiles), side="right"), experts - 1)
    made = lax.map(
        lambda tile: tile[0] @ blocks[:, tile[1]], (dealt.reshape(tiles, _TILE, d_in), owner)
    )
    return made.reshape(tiles * _TILE, -1)[place]
