"""The Bernoulli distribution by its logits, in nats."""

import jax


def cross_entropy(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Returns `-t log s(l) - (1 - t) log(1 - s(l))` of each number, as `log(1 + e^l) - t l`.

    The rearranged form is exact for logits of any size. `target` lies between 0 and 1.
    """
    return jax.nn.softplus(logits) - target * logits
