"""Normal distributions with independent coordinates, in nats; scales by the log of the variance."""

import math

import jax
import jax.numpy as jnp


def kl(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """Returns `KL(N(mean, var) || N(0, 1))` of each coordinate.

    `-1/2 (1 + log var - mean^2 - var)` (Kingma & Welling 2014, appendix B).
    """
    return 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var)


def log_density(x: jax.Array, mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """Returns `log N(x; mean, var)` of each coordinate."""
    return -0.5 * (math.log(2 * math.pi) + log_var + (x - mean) ** 2 * jnp.exp(-log_var))
