"""The Bernoulli distribution by its logits, in nats."""

import jax
import jax.numpy as jnp


def cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns `-t log s(l) - (1 - t) log(1 - s(l))` of each number, as `log(1 + e^l) - t l`.

    The rearranged form, with `log(1 + e^l) = max(l, 0) + log(1 + e^-|l|)`, is exact for logits of
    any size. `target` lies between 0 and 1.
    """
    # jax.nn.softplus looks for infinities besides, for twice the time.
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return softplus - target * logits
