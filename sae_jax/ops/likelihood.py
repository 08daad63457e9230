"""Likelihood of an example under what a decoder says of it, in nats, summed over its numbers."""

import jax
import jax.numpy as jnp

from sae_jax.ops import bernoulli, gaussian


def log_likelihood(
    target: jax.Array, decoded: jax.Array, sigma: float | jax.Array | None = None
) -> jax.Array:
    """Returns `log p(target | decoded)`, `[...]`, of arrays `[..., d]` that broadcast.

    Args:
      target: the examples; between 0 and 1 where `sigma` is None.
      decoded: means of normal distributions; where `sigma` is None, logits of Bernoullis.
      sigma: standard deviation of every number.
    """
    if sigma is None:
        return _bernoulli(target, decoded)
    log_var = 2 * jnp.log(jnp.full((1,) * decoded.ndim, sigma))
    return gaussian.log_density(target, decoded, log_var).sum(axis=-1)


@jax.custom_vjp
def _bernoulli(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns `sum t log s(l) + (1 - t) log(1 - s(l))`.

    With a gradient of its own, which keeps the logits alone: for many samples of a posterior they
    are the largest array there is, and what autodiff keeps besides takes longer to write and read
    than to compute again.
    """
    return -bernoulli.cross_entropy(target, logits).sum(axis=-1)


def _forward(target: jax.Array, logits: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _bernoulli(target, logits), (target, logits)


def _backward(kept: tuple[jax.Array, ...], slope: jax.Array) -> tuple[jax.Array, jax.Array]:
    target, logits = kept
    slope = slope[..., None]
    return (
        _sum_to(slope * logits, target.shape),
        _sum_to(slope * (target - jax.nn.sigmoid(logits)), logits.shape),
    )


_bernoulli.defvjp(_forward, _backward)


def _sum_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns `x` summed over the axes along which an array of `shape` was broadcast."""
    axes = tuple(i for i, size in enumerate(shape) if size != x.shape[i])
    return x.sum(axis=axes, keepdims=True)
