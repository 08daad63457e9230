"""How many entries of each row are not 0."""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax.ops import sharded

_GROUP = 16


def in_rows(x: Float[Array, "rows columns"]) -> Float[Array, " rows"]:
    """Returns how many entries of each row are `!= 0`, as `(x != 0).sum(axis=1)` does.

    On CPUs two sums are taken at once, of groups of neighbours: a single one the compiler would
    feed from an array of whole numbers as large as `x`, which takes four times as long.
    """
    grouped = x.shape[1] % (2 * _GROUP) == 0 and not sharded.split(*x.shape).mapped
    return lax.platform_dependent(x, cpu=_grouped if grouped else _plain, default=_plain)


def _plain(x: Array) -> Array:
    return (x != 0).sum(axis=1).astype(jnp.float32)


def _grouped(x: Array) -> Array:
    counted = (x != 0).astype(jnp.int32).reshape(len(x), -1, 2, _GROUP)
    zero = jnp.int32(0)

    def add(totals: tuple[Array, Array], more: tuple[Array, Array]) -> tuple[Array, Array]:
        return totals[0] + more[0], totals[1] + more[1]

    one, other = lax.reduce((counted[:, :, 0], counted[:, :, 1]), (zero, zero), add, (2,))
    return (one + other).sum(axis=1).astype(jnp.float32)
