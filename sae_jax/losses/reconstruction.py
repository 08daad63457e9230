"""How far a reconstruction is from its target."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import bernoulli


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


def mse_normalised(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the squared error of each example over the batch's mean `||x - mean x||^2`.

    Its mean over the batch is the fraction of variance unexplained there (Gao et al. 2024): 1 for
    a model that always says the mean.
    """
    del params, context
    variance = types.variance(batch)
    error = ((batch.target - output.x_hat) ** 2).sum(axis=-1)
    return error / jnp.maximum(variance, jnp.finfo(variance.dtype).tiny)


def mse_importance(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    decay: float = 0.9,
) -> Float[Array, " batch"]:
    """Returns `sum_i decay^i (x_i - x_hat_i)^2`: each number matters less than the one before.

    (Elhage et al. 2022, "Toy Models of Superposition"; they average over i.)

    Args:
      params: not read.
      batch: its target is read.
      output: its reconstruction is read.
      context: not read.
      decay: importance of a number, by that of the one before.
    """
    del params, context
    importance = decay ** jnp.arange(output.x_hat.shape[-1])
    return (importance[None] * (batch.target - output.x_hat) ** 2).sum(axis=-1)


def huber(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    delta: float = 1.0,
) -> Float[Array, " batch"]:
    """Returns Huber's loss of each example, summed over d (Huber 1964).

    `r^2 / 2` where the residual r is within `delta`, `delta (|r| - delta / 2)` beyond it.

    Args:
      params: not read.
      batch: its target is read.
      output: its reconstruction is read.
      context: not read.
      delta: in units of the model's input.
    """
    del params, context
    size = jnp.abs(batch.target - output.x_hat)
    return jnp.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)).sum(axis=-1)


def bce(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the binary cross-entropy of each example, in nats, summed over d.

    `-sum_j t_j log x_hat_j + (1 - t_j) log(1 - x_hat_j)` for targets t between 0 and 1, computed
    from the logits; it is 0 at best only where every t is 0 or 1. Needs a model with
    `output="sigmoid"`.
    """
    del params, context
    return bernoulli.cross_entropy(batch.target, _logits(output)).sum(axis=-1)


def emphasised(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    alpha: float = 1.0,
    beta: float = 0.5,
    of: str = "mse",
) -> Float[Array, " batch"]:
    """Returns a loss that weighs corrupted numbers apart, summed over d (Vincent et al. 2010, 4.5).

    `alpha sum_{j corrupted} l_j + beta sum_{j untouched} l_j`; a number is corrupted where the
    model's input differs from the target.

    Args:
      params: not read.
      batch: input and target.
      output: its reconstruction, or logits, are read.
      context: not read.
      alpha: weight of corrupted numbers.
      beta: weight of the others.
      of: what l is: "mse", the squared error, or "bce", the binary cross-entropy.
    """
    del params, context
    if of not in ("mse", "bce"):
        raise errors.ConfigError(f'of="{of}": choose from mse, bce')
    if of == "bce":
        each = bernoulli.cross_entropy(batch.target, _logits(output))
    else:
        each = (batch.target - output.x_hat) ** 2
    return (jnp.where(batch.x != batch.target, alpha, beta) * each).sum(axis=-1)


def layerwise(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    steps: int = 1000,
) -> Float[Array, " batch"]:
    """Returns the squared error, summed over the width, of one layer's own reconstruction.

    The first `steps` steps are the first layer's, the next the second layer's, and so on; the last
    layer keeps what is left. Greedy layer-wise pretraining (Bengio et al. 2007): give this term the
    weight 1 and then 0, and the loss of the whole model 0 and then 1. Needs `mlp` with
    `layerwise=True`.

    Args:
      params: not read.
      batch: its target is that of the first layer, so that one that sees noise learns to undo it.
      output: its extras "layer_input" and "layer_output" are read.
      context: its step is read.
      steps: of each layer.
    """
    del params
    if "layer_input" not in output.extras:
        raise errors.ConfigError(
            'it needs a model that reconstructs its layers: set config.model.name="mlp" and '
            "config.model.layerwise=True"
        )
    wanted = (batch.target, *output.extras["layer_input"][1:])
    pairs = zip(wanted, output.extras["layer_output"], strict=True)
    each = jnp.stack([((aim - made) ** 2).sum(axis=-1) for aim, made in pairs])
    return each[jnp.minimum(context.step // steps, len(each) - 1)]


def _logits(output: types.Output) -> jax.Array:
    if "logits" not in output.extras:
        raise errors.ConfigError(
            'it needs a model that ends in a sigmoid: set config.model.output="sigmoid"'
        )
    return output.extras["logits"]
