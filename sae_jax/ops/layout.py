"""How matrices lie in memory, where a compiler left to itself chooses what is slow."""

import jax
from jax.experimental import layout
from jaxtyping import Array, Float

from sae_jax import types

LARGE = 2**29  # Bytes of a matrix from which on memory counts for more than time.


def turned(rows: Float[Array, "d_sae d"]) -> Float[Array, "d d_sae"]:
    """Returns the transpose, written down unless it is large.

    Left to itself, each pass over it would read rows column by column, three times as long; but
    written down it needs as much memory again.
    """
    return rows.T if rows.size * rows.dtype.itemsize > LARGE else by_rows(rows.T)


def by_rows(tree: types.PyTree) -> types.PyTree:
    """Returns arrays, matrices among them written down row by row."""
    order = layout.Layout(major_to_minor=(0, 1))
    return jax.tree.map(
        lambda leaf: layout.with_layout_constraint(leaf, order) if leaf.ndim == 2 else leaf, tree
    )
