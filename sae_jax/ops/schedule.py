"""Numbers that may change while a run goes on."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from sae_jax.ops import each

Schedule = Callable[[jax.Array], jax.Array]
Number = int | float | each.Each | Schedule


@dataclasses.dataclass(frozen=True)
class Bounded:
    """A schedule of which the largest number is known before a run begins.

    Attributes:
      of: the schedule.
      most: the largest number that it has at any step.
    """

    of: Schedule
    most: float

    def __call__(self, step: jax.Array) -> jax.Array:
        """Returns the number at a step."""
        return self.of(step)


def bounded(of: Schedule, num_steps: int) -> Bounded:
    """Returns a schedule with the largest number that it has within so many steps."""
    return Bounded(of, float(jnp.max(of(jnp.arange(num_steps, dtype=jnp.int32)))))


def most(number: Number) -> int | float | None:
    """Returns the largest that `number` ever is, for any member; None where that is not known."""
    if isinstance(number, Bounded):
        return number.most
    return None if callable(number) else each.most(number)


def value(number: Number, step: jax.Array) -> jax.Array:
    """Returns what `number` is at `step`: itself, or what its schedule says. Float32 `[]`."""
    return jnp.asarray(number(step) if callable(number) else number, jnp.float32)
