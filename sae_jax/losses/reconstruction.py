"""How far a reconstruction is from its target."""

from jaxtyping import Array, Float

from sae_jax import types


def mse_sum(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the squared error of each example, summed over d: `||x - x_hat||^2`.

    In squared units of the model's input. It is d times what is often called MSE; a sparsity weight
    that goes with that one is d times smaller.
    """
    del params, context
    return ((batch.target - output.x_hat) ** 2).sum(axis=-1)


def mse_mean(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the squared error of each example, averaged over d."""
    del params, context
    return ((batch.target - output.x_hat) ** 2).mean(axis=-1)
