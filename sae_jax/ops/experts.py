"""Products in which each example meets the columns of its own expert, and no others.

Columns stand in equal blocks, one for each expert. Examples are dealt onto tiles of equal size,
each of which belongs to one expert: a tile is multiplied with one block. However uneven the
experts' shares are, no example is dropped, and at most one tile an expert is not full, so

  (batch + experts * tile) d_in columns / experts

multiplications are made in the place of `batch d_in columns`. Where the dictionary is split over
devices that the experts divide among themselves, each multiplies its rows with blocks of its own.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sae_jax.ops import sharded
from sae_jax.ops.sharded import LATENTS, ROWS

_COLUMNS = (None, "dictionary")
_TILE = 32  # Rows: fewer waste less where experts are many, more are multiplied faster.


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def product(
    x: Float[Array, "batch d_in"],
    w: Float[Array, "d_in columns"],
    expert: Int[Array, " batch"],
    experts: int,
) -> Float[Array, "batch block"]:
    """Returns `x_b w_e`, w_e the columns of the example's expert.

    Args:
      x: examples.
      w: the blocks of all experts side by side.
      expert: of each example, from 0 to `experts - 1`.
      experts: how many; they divide the columns.
    """
    split = sharded.split(len(x), experts)

    def own(x: Array, w: Array, expert: Array) -> Array:
        mine, expert = split.own(jnp.ones(expert.shape, x.dtype), expert, split.part(experts))
        return split.sum(mine[:, None] * _product(x, w, expert, split.part(experts)), LATENTS)

    return split.over(own, (ROWS, _COLUMNS, ROWS), ROWS)(x, w, expert)


def _forward(x: Array, w: Array, expert: Array, experts: int) -> tuple[Array, tuple]:
    return product(x, w, expert, experts), (x, w, expert)


def _backward(experts: int, kept: tuple, g: Array) -> tuple[Array, Array, None]:
    x, w, expert = kept
    split = sharded.split(len(x), experts)

    def own(x: Array, w: Array, expert: Array, g: Array) -> tuple[Array, Array]:
        mine, expert = split.own(jnp.ones(expert.shape, x.dtype), expert, split.part(experts))
        to_x, slope = _slopes(x, w, expert, split.part(experts), mine[:, None] * g)
        return split.sum(to_x, LATENTS), split.sum(slope, ROWS)

    takes = (ROWS, _COLUMNS, ROWS, ROWS)
    to_x, slope = split.over(own, takes, [ROWS, _COLUMNS])(x, w, expert, g)
    return to_x, slope.astype(w.dtype), None


product.defvjp(_forward, _backward)


def _product(x: Array, w: Array, expert: Array, experts: int) -> Array:
    """Returns what `product` does, of the experts of one device."""
    place, owner = _deal(expert, experts)
    blocks = _blocks(w, experts)
    made = lax.map(lambda tile: tile[0] @ blocks[:, tile[1]], (_tiles(x, place, owner), owner))
    return made.reshape(-1, made.shape[-1])[place]


def _slopes(x: Array, w: Array, expert: Array, experts: int, g: Array) -> tuple[Array, Array]:
    """Returns the gradients by `x` and by `w`, of the experts of one device."""
    place, owner = _deal(expert, experts)
    blocks = _blocks(w, experts)

    def step(slope: Array, tile: tuple) -> tuple[Array, Array]:
        x, g, mine = tile
        return slope.at[:, mine].add(x.T @ g), g @ blocks[:, mine].T

    tiles = (_tiles(x, place, owner), _tiles(g, place, owner), owner)
    slope, to_x = lax.scan(step, jnp.zeros(blocks.shape, g.dtype), tiles)
    return to_x.reshape(-1, x.shape[1])[place], slope.reshape(w.shape)


def _deal(expert: Array, experts: int) -> tuple[Array, Array]:
    """Returns where each example lies among all rows of all tiles, and each tile's expert."""
    mine = jax.nn.one_hot(expert, experts, dtype=jnp.int32)
    ends = jnp.cumsum(-(mine.sum(axis=0) // -_TILE))  # Of each expert's tiles.
    first = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    rank = jnp.take_along_axis(jnp.cumsum(mine, axis=0), expert[:, None], axis=1)[:, 0] - 1
    tiles = jnp.arange(math.ceil(len(expert) / _TILE) + experts)
    owner = jnp.minimum(jnp.searchsorted(ends, tiles, side="right"), experts - 1)
    return first[expert] * _TILE + rank, owner


def _tiles(x: Array, place: Array, owner: Array) -> Array:
    """Returns rows where they were dealt to, `[tiles, rows of a tile, d]`, and zeros."""
    empty = jnp.zeros((len(owner) * _TILE, x.shape[1]), x.dtype)
    return empty.at[place].set(x).reshape(len(owner), _TILE, -1)


def _blocks(w: Array, experts: int) -> Array:
    return w.reshape(w.shape[0], experts, -1)
