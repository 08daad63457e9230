"""Dictionaries of more rows than dimensions that are as nearly orthogonal as they can be."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from sae_jax.ops import geometry


@functools.partial(jax.jit, static_argnames=("steps", "learning_rate"))
def pushed_apart(
    rows: Float[Array, "n d"], steps: int, learning_rate: float
) -> Float[Array, "n d"]:
    """Returns rows of norm 1 after so many steps of Adam on

      sum_{i != j} (g_i . g_j)^2 + n sum_i (||g_i||^2 - 1)^2

    (SynthSAEBench, arXiv 2602.14687). The sum over all pairs is that of the squares of `G^T G`, a
    matrix of d x d: its gradient `4 G (G^T G)` takes `4 n d^2` operations and no memory, where
    that of the n x n matrix of cosines would take `4 n^2 d`.
    """
    optimizer = optax.adam(learning_rate)

    highest = functools.partial(jnp.matmul, precision="highest")

    def slope(g: jax.Array) -> jax.Array:
        squares = (g**2).sum(axis=1, keepdims=True)
        return 4 * (highest(g, highest(g.T, g)) - squares * g + len(g) * (squares - 1) * g)

    def body(_: jax.Array, carry: tuple) -> tuple:
        g, state = carry
        updates, state = optimizer.update(slope(g), state)
        return optax.apply_updates(g, updates), state

    start = geometry.unit_rows(rows)
    return geometry.unit_rows(jax.lax.fori_loop(0, steps, body, (start, optimizer.init(start)))[0])
