"""How strongly a code reacts to its input: the squared Frobenius norm of the encoder's Jacobian.

`||J||_F^2 = sum_ij (d codes_i / d x_j)^2` of each example; the encoder maps each row by itself. Two
facts make the same code serve every encoder: `J^T v` is one backward pass, and `J u` the transpose
of one (no forward-mode rule is needed, which layers with a gradient of their own do not have).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Encoder = Callable[[jax.Array], jax.Array]

_AT_ONCE = 32  # Passes that share one matrix product; all at once would not fit into memory.


def squared_norm(encode: Encoder, x: Float[Array, "batch d_in"]) -> Float[Array, " batch"]:
    """Returns `||J||_F^2` of each row, exact, from min(d_in, d_sae) passes through the encoder.

    Row by row of J where the code is narrower than the input, column by column where it is wider.
    """
    codes, pull = jax.vjp(encode, x)

    def row(direction: jax.Array) -> jax.Array:
        return pull(jnp.broadcast_to(direction, codes.shape))[0]

    def column(direction: jax.Array) -> jax.Array:
        _, push = jax.vjp(pull, jnp.zeros_like(codes))
        return push((jnp.broadcast_to(direction, x.shape),))[0]

    d_in, d_sae = x.shape[-1], codes.shape[-1]
    along, width = (row, d_sae) if d_sae <= d_in else (column, d_in)

    @jax.checkpoint
    def summed(unit: jax.Array) -> jax.Array:
        return (along(jax.nn.one_hot(unit, width, dtype=x.dtype)[None]) ** 2).sum(axis=-1)

    return jax.lax.map(summed, jnp.arange(width), batch_size=min(_AT_ONCE, width)).sum(axis=0)


def estimate(
    encode: Encoder, x: Float[Array, "batch d_in"], signs: Float[Array, "samples *batch d_sae"]
) -> Float[Array, " batch"]:
    """Returns the mean over samples of `||J^T v||^2`: one backward pass each, unbiased.

    `E_v ||J^T v||^2 = trace(J E[v v^T] J^T) = ||J||_F^2` where the entries of v are independent, of
    mean 0 and variance 1 (Hutchinson 1990); signs +-1 have the smallest variance of them.

    Args:
      encode: rows to codes.
      x: examples.
      signs: the v of each sample: one for each example, or one for all.
    """
    codes, pull = jax.vjp(encode, x)

    def squared(v: jax.Array) -> jax.Array:
        return (pull(jnp.broadcast_to(jnp.atleast_2d(v), codes.shape))[0] ** 2).sum(axis=-1)

    return jax.lax.map(squared, signs).mean(axis=0)
