"""Bounds on the log-likelihood and what they are made of, in nats; for `vae`.

The evidence lower bound of an example is `E_q log p(x | z) - KL(q(z | x) || p(z))` (Kingma &
Welling 2014); its negative is `expected_nll` + `gaussian_kl`. A weight of `gaussian_kl` other than
1 makes it the beta-VAE (Higgins et al. 2017), a schedule of it a warm-up.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import gaussian, likelihood, schedule


def expected_nll(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `-E_q log p(x | z)`, in nats, summed over d, averaged over the draws z.

    Of the likelihood that the model has: Bernoulli, or normal, its constant included.
    """
    del params, context
    return -_log_likelihood(batch, output).mean(axis=1)


def gaussian_kl(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `KL(q(z | x) || N(0, 1)) = -1/2 sum_j (1 + log var_j - mean_j^2 - var_j)`, in nats.

    In closed form (Kingma & Welling 2014, appendix B), summed over the latents.
    """
    del params, batch, context
    return _kl(output)


def kl_capacity(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    capacity: schedule.Number = 25.0,
) -> Float[Array, " batch"]:
    """Returns `|KL - C|`, in nats, the same number for every example.

    KL is that of `gaussian_kl`, averaged over the batch. With a large weight gamma, and C rising
    from 0, the code takes up one factor after the other (Burgess et al. 2018, arXiv:1804.03599,
    equation 8; their gamma is 1000, their C goes from 0 to 25).

    Args:
      params: not read.
      batch: for the mask.
      output: its posterior is read.
      context: its step is read.
      capacity: C, in nats; a number or a schedule.
    """
    del params
    mask = types.mask(batch)
    mean = (_kl(output) * mask).sum() / mask.sum()
    distance = jnp.abs(mean - schedule.value(capacity, context.step))
    return jnp.broadcast_to(distance, mask.shape)


def iwae(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `-log (1/k) sum_i w_i` with `w_i = p(x, z_i) / q(z_i | x)`, in nats.

    k is the model's `samples`. The importance-weighted bound of Burda et al. 2015
    (arXiv:1509.00519, equation 8): its expectation falls to `-log p(x)` as k grows, and with k = 1
    is that of the negative evidence lower bound. Its gradient is `sum_i w~_i grad log w_i`, w~
    being the weights divided by their sum (equation 14); with the model's `kept`, the mean of
    `grad log w_i` over draws that were chosen with probabilities w~.
    """
    del params, context
    log_w = _log_likelihood(batch, output) + output.extras["log_ratio"]
    if "log_weights" not in output.extras:
        return _negative_bound(log_w)
    slope = -log_w.mean(axis=1)
    return _negative_bound(output.extras["log_weights"]) + slope - jax.lax.stop_gradient(slope)


def _negative_bound(log_w: jax.Array) -> jax.Array:
    return math.log(log_w.shape[1]) - jax.nn.logsumexp(log_w, axis=1)


def _log_likelihood(batch: types.Batch, output: types.Output) -> jax.Array:
    """Returns `log p(target | z)` of each draw, `[batch, k]`."""
    extras = _extras(output)
    sigma = extras.get("sigma")
    return likelihood.log_likelihood(batch.target[:, None], extras["decoded"], sigma)


def _kl(output: types.Output) -> jax.Array:
    extras = _extras(output)
    return gaussian.kl(extras["mean"], extras["log_var"]).sum(axis=-1)


def _extras(output: types.Output) -> dict[str, jax.Array]:
    if "log_var" not in output.extras:
        raise errors.ConfigError('it needs a posterior: set config.model.name="vae"')
    return output.extras
