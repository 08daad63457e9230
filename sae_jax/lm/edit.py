"""Changes of an activation in the middle of a forward pass.

An edit is a function and its arguments. The function is compiled in, the arguments are passed:
another vector, strength or position costs no compilation, another function does.

  replace   a <- value                  at the chosen tokens
  add       a <- a + strength vector
  scale     a <- factor a
  ablate    a <- 0, or a mean

Tokens are chosen by `at`, which is all of them if it is None; the others:

  a slice             positions from start to before stop: `slice(1, None)` is all but the first
  ints                these positions, in each row
  bool [rows, n]      row by row, whether to edit the token at each position; none beyond n

A position counts the tokens of a row from 0, padding left out. Padding is never edited.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors

At = slice | Sequence[int] | np.ndarray | jax.Array | None


@flax.struct.dataclass
class Place:
    """Where the tokens of a batch stand.

    Attributes:
      mask: bool `[batch, length]`, true for a token and false for padding.
      positions: int32 `[batch, length]`, tokens before it in its row.
    """

    mask: jax.Array
    positions: jax.Array


@flax.struct.dataclass
class Edit:
    """What to do to an activation.

    Attributes:
      function: `(activation [batch, length, width], place, *arguments) -> activation`. The same
        function, not one like it, must be given again if nothing is to be compiled again.
      arguments: arrays, or trees of arrays.
    """

    function: Callable[..., jax.Array] = flax.struct.field(pytree_node=False)
    arguments: tuple[Any, ...] = ()

    def __call__(self, activation: jax.Array, place: Place) -> jax.Array:
        """Returns the activation after the edit, padding as it was."""
        changed = self.function(activation, place, *self.arguments)
        if changed.shape != activation.shape:
            raise errors.UserError(
                f"an edit returns shape {changed.shape} for an activation of {activation.shape}"
            )
        return jnp.where(place.mask[..., None], changed.astype(activation.dtype), activation)


def replace(value: Any, at: At = None) -> Edit:
    """Puts `value` in place of the activation.

    Args:
      value: `[width]`, `[length, width]` or `[batch, length, width]`.
      at: which tokens; see the module.
    """
    return Edit(_replace, (jnp.asarray(value), choose(at)))


def add(vector: Any, strength: float = 1.0, at: At = None) -> Edit:
    """Adds `strength` times `vector`, of a shape as of `replace`."""
    return Edit(_add, (jnp.asarray(vector), jnp.asarray(strength, jnp.float32), choose(at)))


def scale(factor: float, at: At = None) -> Edit:
    """Multiplies the activation by `factor`."""
    return Edit(_scale, (jnp.asarray(factor, jnp.float32), choose(at)))


def ablate(mean: Any = None, at: At = None) -> Edit:
    """Puts zeros, or a mean `[width]`, in place of the activation."""
    if mean is None:
        return scale(0.0, at)
    return replace(mean, at)


@flax.struct.dataclass
class Chosen:
    """Which tokens an edit changes.

    Attributes:
      kind: "all", "between", "listed" or "marked".
      value: what says which; its shape depends on the kind.
    """

    kind: str = flax.struct.field(pytree_node=False)
    value: jax.Array | None = None

    def __call__(self, place: Place) -> jax.Array:
        """Returns bool `[batch, length]`."""
        positions = place.positions
        if self.value is None:
            return place.mask
        if self.kind == "between":
            return (positions >= self.value[0]) & (positions < self.value[1])
        if self.kind == "listed":
            return (positions[..., None] == self.value[None, None]).any(axis=-1)
        rows, n = self.value.shape
        if rows not in (1, len(positions)):
            raise errors.UserError(
                f"at: it marks tokens of {rows} rows, but the batch has {len(positions)}"
            )
        marked = jnp.broadcast_to(self.value, (len(positions), n))
        found = jnp.take_along_axis(marked, jnp.minimum(positions, n - 1), axis=1)
        return found & (positions < n)


def choose(at: At) -> Chosen:
    """Returns the choice that `at` stands for."""
    if at is None:
        return Chosen("all")
    if isinstance(at, slice):
        if at.step not in (None, 1) or min(at.start or 0, at.stop or 0) < 0:
            raise errors.UserError(f"at={at}: a slice of positions has no step and no minus")
        stop = np.iinfo(np.int32).max if at.stop is None else at.stop
        return Chosen("between", jnp.asarray([at.start or 0, stop], jnp.int32))
    array = np.asarray(at)
    if array.dtype == bool and array.ndim == 2 and array.shape[1]:
        return Chosen("marked", jnp.asarray(array))
    if array.ndim == 1 and np.issubdtype(array.dtype, np.integer) and (array >= 0).all():
        return Chosen("listed", jnp.asarray(array, jnp.int32))
    raise errors.UserError(
        f"at: an array {array.dtype}{list(array.shape)}; it must be positions (ints, 0 or more) "
        "or bool [rows, positions]"
    )


def _replace(a: jax.Array, place: Place, value: jax.Array, chosen: Chosen) -> jax.Array:
    return jnp.where(chosen(place)[..., None], _like(value, a), a)


def _add(
    a: jax.Array, place: Place, vector: jax.Array, strength: jax.Array, chosen: Chosen
) -> jax.Array:
    return jnp.where(chosen(place)[..., None], a + _like(strength * vector, a), a)


def _scale(a: jax.Array, place: Place, factor: jax.Array, chosen: Chosen) -> jax.Array:
    return jnp.where(chosen(place)[..., None], a * factor.astype(a.dtype), a)


def _like(value: jax.Array, activation: jax.Array) -> jax.Array:
    """Returns `value` with the shape and type of the activation."""
    wanted = activation.shape
    if value.ndim > 3 or any(
        n not in (1, m) for n, m in zip(value.shape[::-1], wanted[::-1], strict=False)
    ):
        raise errors.UserError(
            f"a value of shape {value.shape} does not fit an activation of {wanted}"
        )
    lifted = value.reshape((1,) * (3 - value.ndim) + value.shape)
    return jnp.broadcast_to(lifted, wanted).astype(activation.dtype)
