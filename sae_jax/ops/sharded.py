"""Operations on arrays that are split over a mesh of devices, where XLA's own choice is poor.

XLA divides a matrix product well. For top-k, gathers and scatters by an index it moves the whole
`[batch, d_sae]` to every device, even when batches alone are split. Here each device works on its
own rows and latents (`jax.shard_map`), and what moves is small: counts, k candidates of each row,
sums of the width of an example.

A program learns of its mesh from `sae_jax/mesh.py`, `over`. Without one, on one device, and where
rows do not split evenly along `data`, everything here is the plain operation.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float, Int

from sae_jax.ops import topk

# Along which axes of the mesh the axes of an array are split.
Kind = tuple[str | None, ...]
ROWS: Kind = ("data",)
LATENTS: Kind = ("dictionary",)
BOTH: Kind = ("data", "dictionary")
WHOLE: Kind = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """How rows and latents are split over devices.

    Attributes:
      shards: into how many parts, by axis of the mesh; nothing for an axis that splits nothing.
      mapped: whether functions run on each device on its own part.
    """

    shards: dict[str, int] = dataclasses.field(default_factory=dict)
    mapped: bool = False

    def over(self, function: Callable, takes: tuple[Kind, ...], gives: Any) -> Callable:
        """Returns `function`, called on each device with its own parts of the arguments.

        Args:
          function: of parts of arrays; where it sums over all rows or latents, it uses `sum`.
          takes: how each argument is split.
          gives: how the result is, or each of several.
        """
        if not self.mapped:
            return function
        several = isinstance(gives, list)
        out = tuple(map(self._spec, gives)) if several else self._spec(gives)
        # What a function returns whole is the same on all devices because it is summed over them;
        # the check would ask that every loop inside were told which of its arrays differ.
        return jax.shard_map(
            function, in_specs=tuple(map(self._spec, takes)), out_specs=out, check_vma=False
        )

    def sum(self, x: Array, kind: Kind) -> Array:
        """Returns the sum over the devices along the axes of `kind`."""
        return lax.psum(x, self._split(kind)) if self._split(kind) else x

    def max(self, x: Array, kind: Kind) -> Array:
        """Returns the largest over the devices along the axes of `kind`."""
        return lax.pmax(x, self._split(kind)) if self._split(kind) else x

    def earlier(self, x: Array, axis: str) -> Array:
        """Returns the sum of `x` over the devices that come before along an axis of the mesh."""
        if not self.splits(axis):
            return jnp.zeros_like(x)
        before = jnp.arange(self.shards[axis]) < lax.axis_index(axis)
        of_all = lax.all_gather(x, axis)
        return jnp.where(before.reshape(-1, *[1] * x.ndim), of_all, 0).sum(axis=0, dtype=x.dtype)

    def own(self, values: Array, indices: Array, count: int) -> tuple[Array, Array]:
        """Returns values, 0 for what belongs to latents of other devices, and places to put them.

        Args:
          values: any.
          indices: the latent of each, among all latents.
          count: how many latents each device has.
        """
        if not self.splits("dictionary"):
            return values, indices
        mine = indices // count == self.place()
        return jnp.where(mine, values, 0), self.places(indices, count)

    def places(self, indices: Array, count: int) -> Array:
        """Returns where latents lie in the part of their own device."""
        # Those of others are spread so: adding 0 to one row again and again would take long.
        return indices % count if self.splits("dictionary") else indices

    def splits(self, axis: str) -> bool:
        """Returns whether an axis of the mesh splits anything."""
        return axis in self.shards

    def place(self) -> Array:
        """Returns which part of the latents this device has."""
        if not self.splits("dictionary"):
            return jnp.zeros((), jnp.int32)
        return lax.axis_index("dictionary")

    def part(self, latents: int) -> int:
        """Returns how many of so many latents each device has."""
        return latents // self.shards.get("dictionary", 1)

    def _split(self, kind: Kind) -> tuple[str, ...]:
        return tuple(axis for axis in kind if axis and self.splits(axis))

    def _spec(self, kind: Kind) -> PartitionSpec:
        return PartitionSpec(*(axis if axis in self.shards else None for axis in kind))


def split(rows: int, latents: int) -> Split:
    """Returns how so many rows and latents are split in the program that is being traced."""
    mesh = jax.sharding.get_abstract_mesh()
    known = set(BOTH) <= set(mesh.axis_names) and AxisType.Manual not in mesh.axis_types
    if not known or mesh.size == 1 or rows % mesh.shape["data"]:
        return Split()
    lengths = {"data": rows, "dictionary": latents}
    shards = {
        axis: mesh.shape[axis]
        for axis, length in lengths.items()
        if mesh.shape[axis] > 1 and length % mesh.shape[axis] == 0
    }
    return Split(shards, mapped=True)


def top_k(
    x: Float[Array, "batch d_sae"], k: int, whole_rows: bool = False
) -> tuple[Float[Array, "batch k"], Int[Array, "batch k"]]:
    """Returns the k largest of each row, falling, and where they are; of equals, the first.

    Each device finds the k largest of its own latents; of these candidates, `[batch, devices * k]`,
    the k largest are those of the whole row. They lie in the order of the latents where they are
    equal, and so the first of equals are found. No gradient passes.

    Args:
      x: what is compared.
      k: how many of each row.
      whole_rows: whether columns are no latents that lie on different devices.
    """
    how = split(x.shape[0], 1 if whole_rows else x.shape[1])

    def found(x: Array) -> tuple[Array, Array]:
        count = x.shape[1]
        values, indices = topk.top_k(x, min(k, count))
        if not how.splits("dictionary"):
            return values, indices
        indices += how.place() * count
        values, indices = (
            lax.all_gather(part, "dictionary", axis=1, tiled=True) for part in (values, indices)
        )
        values, places = lax.top_k(values, k)
        return values, jnp.take_along_axis(indices, places, axis=1)

    return how.over(found, (BOTH,), [ROWS, ROWS])(lax.stop_gradient(x))


def largest_of_groups(x: Float[Array, "batch d_sae"], groups: int) -> Int[Array, "batch groups"]:
    """Returns which latent is the largest of each group of neighbours; of equals, the first.

    A group may lie on several devices: then they exchange the largest of each block that belongs to
    one group and one device. No gradient passes.

    Args:
      x: what is compared.
      groups: how many; they divide the latents.
    """
    how = split(*x.shape)
    size, count = x.shape[1] // groups, how.part(x.shape[1])
    block = math.gcd(size, count)

    def found(x: Array) -> tuple[Array, Array]:
        blocks = x.reshape(x.shape[0], -1, block)
        first = block * jnp.arange(blocks.shape[1], dtype=jnp.int32) + how.place() * count
        return blocks.max(axis=2), blocks.argmax(axis=2).astype(jnp.int32) + first[None]

    values, indices = how.over(found, (BOTH,), [BOTH, BOTH])(lax.stop_gradient(x))
    if block == size:
        return indices

    def merged(values: Array, indices: Array) -> Array:
        values, indices = (part.reshape(len(part), groups, -1) for part in (values, indices))
        best = values.argmax(axis=2, keepdims=True)
        return jnp.take_along_axis(indices, best, axis=2)[:, :, 0]

    return how.over(merged, (ROWS, ROWS), ROWS)(values, indices)
