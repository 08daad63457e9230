"""Numbers that may change while a run goes on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sae_jax.ops import each

Schedule = Callable[[jax.Array], jax.Array]
Number = int | float | each.Each | Schedule


def value(number: Number, step: jax.Array) -> jax.Array:
    """Returns what `number` is at `step`: itself, or what its schedule says. Float32 `[]`."""
    return jnp.asarray(number(step) if callable(number) else number, jnp.float32)
