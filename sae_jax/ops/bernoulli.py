"""The Bernoulli distribution by its logits, in nats."""

import jax
import jax.numpy as jnp


def cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns `-t log s(l) - (1 - t) log(1 - s(l))` of each number, as `max(l, 0) - l t + ...`.

    The rearranged form is exact for logits of any size. `target` lies between 0 and 1.
    """
    return jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))
