"""Terms that look at the parameters alone; the same number for every example of a batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types


def weight_decay(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `1/2 sum w^2` over all matrices; biases are left out (Ng 2011, CS294A notes)."""
    del output, context
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim >= 2]
    total = sum(0.5 * jnp.sum(matrix**2) for matrix in matrices)
    return jnp.broadcast_to(total, (batch.size,))
