"""How well a reconstruction fills in what is known of a user's taste, or of an item's fans."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types


def mse_observed(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the squared error of each example, summed over what is known of its target.

    `sum_{j: t_j != 0} (t_j - x_hat_j)^2`: a target of 0 says that there is no rating. The loss of
    AutoRec (Sedhain et al. 2015), without its `lambda / 2 (||V||^2 + ||W||^2)`: give
    `weight_decay` the weight lambda / examples, as a loss is a mean over examples, not a sum.
    """
    del params, context
    known = batch.target != 0
    return jnp.where(known, (batch.target - output.x_hat) ** 2, 0.0).sum(axis=-1)


def multinomial(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `-sum_j t_j log softmax(l)_j` of each example, in nats.

    The negative log-likelihood, up to a constant, of `sum_j t_j` draws from a multinomial
    distribution over the items (Liang et al. 2018). The logits `l` are the reconstruction, or, of
    a model that ends in a sigmoid, what the sigmoid was applied to.
    """
    del params, context
    logits = output.extras.get("logits", output.x_hat)
    return -(batch.target * jax.nn.log_softmax(logits, axis=-1)).sum(axis=-1)
