"""Numbers that may change while a run goes on."""

from collections.abc import Callable
import dataclasses
import functools

import jax
import jax.numpy as jnp

from sae_jax.ops import per_member

Schedule = Callable[[jax.Array], jax.Array]
Number = int | float | per_member.PerMember | Schedule


@dataclasses.dataclass(frozen=True)
class Bounded:
    """A schedule of a run whose length is known, and with it the largest number that it has.

    Attributes:
      of: the schedule, of one step.
      num_steps: of the run.
    """

    of: Schedule
    num_steps: int

    def __call__(self, step: jax.Array) -> jax.Array:
        """Returns the number at a step."""
        return self.of(step)

    @functools.cached_property
    def most(self) -> float:
        """The largest number that it has at any step of the run."""
        with jax.ensure_compile_time_eval():  # Sizes of arrays depend on it.
            steps = jnp.arange(self.num_steps, dtype=jnp.int32)
            return float(jax.vmap(self.of)(steps).max())


def most(number: Number) -> int | float | None:
    """Returns the largest that `number` ever is, for any member; None where that is not known."""
    if isinstance(number, Bounded):
        return number.most
    return None if callable(number) else per_member.most(number)


def value(number: Number, step: jax.Array) -> jax.Array:
    """Returns what `number` is at `step`: itself, or what its schedule says. Float32 `[]`."""
    return jnp.asarray(number(step) if callable(number) else number, jnp.float32)
