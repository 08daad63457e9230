"""Invertible affine maps between the data and what a model sees of them."""

from typing import Protocol

from flax import struct
import jax
from jaxtyping import Array, Float


class Scale(Protocol):
    """A map into the model's scale, and the way back."""

    def enter(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns examples as a model sees them."""

    def leave(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns what a model has made, in the scale of the data; undoes `enter`."""


@struct.dataclass
class Elementwise:
    """`x -> (x - shift) * scale`.

    Attributes:
      shift: `[1 or batch, 1 or d]`.
      scale: `[1 or batch, 1]`.
    """

    shift: jax.Array
    scale: jax.Array

    def enter(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns examples as a model sees them."""
        return (x - self.shift) * self.scale

    def leave(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns what a model has made, in the scale of the data."""
        return x / self.scale + self.shift


@struct.dataclass
class Linear:
    """`x -> (x - mean) matrix`.

    Attributes:
      mean: `[d]`.
      matrix: `[d, d]`.
      inverse: `[d, d]`, its inverse.
    """

    mean: jax.Array
    matrix: jax.Array
    inverse: jax.Array

    def enter(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns examples as a model sees them."""
        return (x - self.mean[None]) @ self.matrix

    def leave(self, x: Float[Array, "batch d"]) -> Float[Array, "batch d"]:
        """Returns what a model has made, in the scale of the data."""
        return x @ self.inverse + self.mean[None]
