"""Schedules by name: `step -> number`, for a learning rate, a loss weight, k, or any other number.

A duration or a place in time is a share of the run if it is below 1, and else a number of optimiser
steps: `warmup=0.05`, `warmup=1000`. Steps count from 0. In step t a rise from 0 has gone t + 1 of
its steps, so that the first step moves; everything else has gone t, so that a fall that ends with
the run reaches `end` only after its last step. Every function takes `num_steps`, the length of the
run, first; the config gives the rest.
"""

import jax
import jax.numpy as jnp

from sae_jax.ops import schedule

Duration = int | float


def constant(num_steps: int, *, value: float) -> schedule.Schedule:
    """Returns `value` at every step."""
    del num_steps
    return lambda step: jnp.full_like(step, value, dtype=jnp.float32)


def warmup(num_steps: int, *, value: float, warmup: Duration) -> schedule.Schedule:
    """Rises from 0 to `value` over `warmup`, then stays."""
    rise = _steps(warmup, num_steps)
    return lambda step: value * _share(step + 1, 0, rise)


def linear(
    num_steps: int, *, start: float, end: float, begin: Duration = 0, over: Duration | None = None
) -> schedule.Schedule:
    """Stays at `start` until `begin`, goes straight to `end` within `over`, and stays there.

    Without `over` it goes on to the end of the run.
    """
    first = _steps(begin, num_steps)
    length = num_steps - first if over is None else _steps(over, num_steps)
    return lambda step: start + (end - start) * _share(step, first, length)


def cosine(
    num_steps: int, *, value: float, warmup: Duration = 0, end: float = 0.0
) -> schedule.Schedule:
    """Rises from 0 to `value` over `warmup`, then falls to `end` along half a cosine."""
    rise = _steps(warmup, num_steps)

    def at(step: jax.Array) -> jax.Array:
        fall = 0.5 * (1 + jnp.cos(jnp.pi * _share(step, rise, num_steps - rise)))
        return _share(step + 1, 0, rise) * (end + (value - end) * fall)

    return at


def trapezoid(
    num_steps: int, *, value: float, warmup: Duration = 0, decay: Duration = 0.2, end: float = 0.0
) -> schedule.Schedule:
    """Rises from 0 to `value` over `warmup`, stays, and falls to `end` over the last `decay`.

    The learning rate of Anthropic's April 2024 update: no warm-up, a decay over the last fifth.
    """
    rise, fall = _steps(warmup, num_steps), _steps(decay, num_steps)

    def at(step: jax.Array) -> jax.Array:
        down = _share(step, num_steps - fall, fall)
        return _share(step + 1, 0, rise) * (value + (end - value) * down)

    return at


def step(
    num_steps: int, *, value: float, factor: float, at: tuple[Duration, ...]
) -> schedule.Schedule:
    """Starts at `value` and is multiplied by `factor` at each of the places `at`."""
    places = jnp.asarray([_steps(place, num_steps) for place in at], jnp.int32)
    return lambda now: value * factor ** (now >= places).sum().astype(jnp.float32)


def exponential(num_steps: int, *, start: float, end: float) -> schedule.Schedule:
    """Goes from `start` to `end` over the whole run, by the same factor at each step."""
    if start <= 0 or end <= 0:
        raise ValueError(f"exponential: start={start} and end={end} must be positive")
    return lambda now: start * (end / start) ** _share(now, 0, num_steps)


def _steps(duration: Duration, num_steps: int) -> int:
    """Returns a duration in steps."""
    if 0 <= duration < 1:
        return round(duration * num_steps)
    if not duration >= 1 or duration != round(duration):
        raise ValueError(f"{duration} is no duration: a share of the run below 1, or whole steps")
    return round(duration)


def _share(step: jax.Array, first: int, length: int) -> jax.Array:
    """Returns how much of `first .. first + length` has passed, from 0 to 1."""
    if length <= 0:
        return (step >= first).astype(jnp.float32)
    return jnp.clip((step - first) / length, 0.0, 1.0)
