"""What a data set is: examples by number, and the order in which training meets them.

A batch is a function of (seed, step), so there is no loader whose state must be saved. Each file of
this folder ends in `load(split, **kwargs) -> Arrays`; a file name is what `config.data.name` names.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any, Protocol
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import permute


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of a data set before any example is read.

    Attributes:
      name: of the data set.
      split: which part of it, in the words of the config: "train", "train[:55000]".
      shape: of one example.
      grid: what one example, reshaped, is: `(height, width, channels)` for a picture, `(length,
        channels)` for a series, `(sites, d)` for activations of several sites, `(frames, height,
        width, channels)` for a film. None: its numbers have no neighbours.
      target_shape: of what is to be reconstructed, where that is not the example itself.
    """

    name: str
    split: str
    shape: tuple[int, ...]
    grid: tuple[int, ...] | None = None
    target_shape: tuple[int, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """`(height, width, channels)` if an example is a picture, or None."""
        grid = self.grid
        return (grid[0], grid[1], grid[2]) if grid is not None and len(grid) == 3 else None

    @property
    def d_in(self) -> int:
        """Numbers in one example."""
        return int(np.prod(self.shape))

    @property
    def d_out(self) -> int:
        """Numbers in one reconstruction."""
        return self.d_in if self.target_shape is None else int(np.prod(self.target_shape))


@dataclasses.dataclass(frozen=True, eq=False)
class AtSites:
    """What a data set of activations is made of.

    Attributes:
      spec: what an example is.
      sites: whose activations are an example, one behind the other.
      target_sites: whose are its target; none where it is the example.
    """

    spec: Spec
    sites: tuple[str, ...]
    target_sites: tuple[str, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """All sites that are read."""
        return tuple(dict.fromkeys((*self.sites, *self.target_sites)))

    def joined(self, rows: Mapping[str, jax.Array]) -> types.Batch:
        """Returns the batch of rows `[batch, width]` by site."""

        def behind_each_other(sites: tuple[str, ...]) -> jax.Array:
            return jnp.concatenate([rows[site] for site in sites], axis=-1)

        y = behind_each_other(self.target_sites) if self.target_sites else None
        return types.Batch(x=behind_each_other(self.sites), y=y)


def named(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns what a config names, sites or folders: one, several, or none, which may be "" too."""
    if isinstance(names, str):
        return (names,) if names else ()
    return tuple(names or ())


def site_spec(name: str, split: str, widths: Sequence[int], target_widths: Sequence[int]) -> Spec:
    """Returns what examples made of several sites are.

    Args:
      name: of the data set.
      split: part of it.
      widths: of the sites that an example is made of.
      target_widths: of those that its target is made of; none where it is the example.
    """
    equal = len(widths) > 1 and len(set(widths)) == 1
    return Spec(
        name=name,
        split=split,
        shape=(sum(widths),),
        grid=(len(widths), widths[0]) if equal else None,
        target_shape=(sum(target_widths),) if target_widths else None,
    )


class Dataset(Protocol):
    """What training and evaluation ask of data: examples by number."""

    @property
    def spec(self) -> Spec:
        """What it is."""
        ...

    @property
    def length(self) -> int:
        """Examples."""
        ...

    @property
    def label(self) -> np.ndarray | None:
        """Int32 `[n]`, a class of each example, if classes are known."""
        ...

    @property
    def resident(self) -> bool:
        """Whether `source` lives on the device, and a batch is made of it there."""
        ...

    @property
    def source(self) -> dict[str, np.ndarray]:
        """What `at` needs on the device."""
        ...

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what `decode` makes the examples at `index` of, on the host, a row an example."""
        ...

    def decode(self, raw: dict[str, jax.Array]) -> types.Batch:
        """Turns `rows` into what a model sees; runs on the device."""
        ...

    def at(self, source: dict[str, jax.Array], index: jax.Array) -> types.Batch:
        """Returns the examples at `index`; runs on the device."""
        ...

    def order(self, seed: int, step: Any, batch_size: int) -> Any:
        """Returns which examples step `step` of training sees; as `order` below, or its own way."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells this data set from another, as JSON can hold it."""
        ...


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A data set that is one array, in memory or in a memory map, one row an example.

    Attributes:
      spec: what it is.
      x: `[n, *spec.shape]`, of any number type; integers are divided by `scale`.
      label: int32 `[n]` or None.
      scale: what an integer is divided by: 255 makes pixels go from 0 to 1.
      y: `[n, *spec.target_shape]`, what is to be reconstructed, scaled as `x`. None: `x` itself.
      resident_bytes: up to this size the whole array is put on the device once; a larger one is
        read on the host, batch by batch.
    """

    spec: Spec
    x: np.ndarray
    label: np.ndarray | None = None
    scale: float = 255.0
    y: np.ndarray | None = None
    resident_bytes: int = 2**30

    def __post_init__(self) -> None:
        """Refuses arrays that do not fit the spec or hold a number that is not finite."""
        if self.x.shape[1:] != self.spec.shape:
            raise errors.DataError(
                f"{self.spec.name}: examples have shape {self.x.shape[1:]}, not {self.spec.shape}"
            )
        for what, array in (("labels", self.label), ("targets", self.y)):
            if array is not None and len(array) != len(self.x):
                raise errors.DataError(
                    f"{self.spec.name}: {len(self.x)} examples but {len(array)} {what}"
                )
        target_shape = self.spec.target_shape or self.spec.shape
        if self.y is not None and self.y.shape[1:] != target_shape:
            raise errors.DataError(
                f"{self.spec.name}: targets have shape {self.y.shape[1:]}, not {target_shape}"
            )
        for what, array in (("", self.x), ("of the target ", self.y)):
            if array is not None and np.issubdtype(array.dtype, np.floating):
                _refuse_nan(self.spec, array, what)

    @property
    def length(self) -> int:
        """Examples."""
        return len(self.x)

    @property
    def divisor(self) -> float:
        """What a number of `x` is divided by to be one that a model sees."""
        return self.scale if np.issubdtype(self.x.dtype, np.integer) else 1.0

    @property
    def resident(self) -> bool:
        """Whether the whole array lives on the device."""
        return sum(array.nbytes for array in self.source.values()) <= self.resident_bytes

    @property
    def source(self) -> dict[str, np.ndarray]:
        """The raw arrays, one row an example."""
        arrays = {"x": self.x, "y": self.y, "label": self.label}
        return {name: array for name, array in arrays.items() if array is not None}

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the raw examples at `index`, read on the host."""
        return {name: array[index] for name, array in self.source.items()}

    def decode(self, raw: dict[str, jax.Array]) -> types.Batch:
        """Turns raw examples into what a model sees; runs on the device."""

        def scaled(array: jax.Array) -> jax.Array:
            whole = jnp.issubdtype(array.dtype, jnp.integer)
            return array.astype(jnp.float32) / (self.scale if whole else 1.0)

        y = scaled(raw["y"]) if "y" in raw else None
        return types.Batch(x=scaled(raw["x"]), y=y, label=raw.get("label"))

    def at(self, source: dict[str, jax.Array], index: jax.Array) -> types.Batch:
        """Returns the examples at `index` of a `source` that lies on the device."""
        return self.decode({name: array[index] for name, array in source.items()})

    def order(self, seed: int, step: Any, batch_size: int) -> Any:
        """Returns which examples step `step` sees: all in an epoch, whatever lies beside them."""
        return order(seed, step, batch_size, self.length)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells this data set from another: length, shape, type, a checksum.

        The checksum covers every byte, or, of more than 256 MB, 4,096 rows spread over all.
        """
        rows = slice(None, None, 1 if self.x.nbytes <= 2**28 else max(1, self.length // 4096))
        checksum = zlib.crc32(np.ascontiguousarray(self.x[rows]).tobytes())
        for array in (self.label, self.y):
            if array is not None:
                checksum = zlib.crc32(np.ascontiguousarray(array[rows]).tobytes(), checksum)
        return {
            "examples": self.length,
            "shape": list(self.spec.shape),
            "dtype": str(self.x.dtype),
            "crc32": f"{checksum:08x}",
        }


def order(seed: int, step: Any, batch_size: int, n: int) -> Any:
    """Returns which examples step `step` of training sees: int32 `[batch_size]`.

    An epoch is `n // batch_size` steps over a permutation of its own; what does not fill a batch at
    its end is left out, other examples in each epoch. On the host and on the device the same.

    Args:
      seed: of the run.
      step: NumPy or JAX integer `[]`.
      batch_size: rows of a batch, at most n.
      n: examples in the data set.
    """
    if not 0 < batch_size <= n:
        raise errors.UserError(
            f"batch_size={batch_size} does not fit a data set of {n} examples: "
            f"set config.batch_size to {n} or less"
        )
    xp: Any = jnp if isinstance(step, jax.Array) else np
    steps_per_epoch = n // batch_size
    first = (step % steps_per_epoch) * batch_size
    place = (first + xp.arange(batch_size)).astype(xp.uint32)
    keys = permute.round_keys(seed, step // steps_per_epoch)
    return permute.at(keys, place, n).astype(xp.int32)


def shuffled(n: int, seed: int) -> np.ndarray:
    """Returns the rows 0..n-1, int64 `[n]`, in an order that `seed` alone decides.

    For the split of a data set that has no official one; NumPy's own generators may change.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"{seed} cannot decide an order: it has to be from 0 to {2**32 - 1}")
    keys = permute.round_keys(seed, 0)
    return permute.at(keys, np.arange(n, dtype=np.uint32), n).astype(np.int64)


def parse_split(split: str) -> tuple[str, slice]:
    """Returns name and rows of "train", "train[:55000]", "test[100:200]", "train[-10%:]"."""
    match = re.fullmatch(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?", split)
    if match is None:
        raise errors.DataError(
            f'split "{split}" is not understood: write "train", "test" or "train[:55000]"'
        )
    return match[1], slice(match[2], match[3])


def cut(array: Any, rows: slice) -> Any:
    """Returns the rows of an array or a range that `parse_split` found; % are of its length."""

    def number(bound: str | None) -> int | None:
        if bound is None or not bound.endswith("%"):
            return None if bound is None else int(bound)
        return round(len(array) * int(bound[:-1]) / 100)

    return array[number(rows.start) : number(rows.stop)]


def from_splits(
    name: str,
    split: str,
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]],
    grid: tuple[int, ...] | None = None,
    scale: float = 255.0,
) -> Arrays:
    """Cuts `split` out of whole splits `{"train": (x, label), ...}` and flattens each example."""
    part, rows = parse_split(split)
    if part not in splits:
        raise errors.DataError(f'{name} has no split "{part}": it has {", ".join(splits)}')
    x, label = splits[part]
    x = cut(x.reshape(len(x), int(np.prod(x.shape[1:]))), rows)
    if len(x) == 0:
        raise errors.DataError(f'split "{split}" of {name} is empty')
    label = None if label is None else cut(label, rows).astype(np.int32)
    return Arrays(Spec(name, split, x.shape[1:], grid), x, label, scale)


def of_classes(data: Arrays, classes: Sequence[int]) -> Arrays:
    """Returns the examples whose label is one of `classes`, in their order; all if there are none.

    Raises:
      DataError: no example has such a label.
    """
    if not len(classes):
        return data
    if data.label is None:
        raise errors.DataError(f"{data.spec.name} has no labels: leave out data.classes")
    chosen = np.isin(data.label, classes)
    if not chosen.any():
        known = ", ".join(map(str, np.unique(data.label)))
        raise errors.DataError(
            f"no example of {data.spec.name} ({data.spec.split}) is of the classes "
            f"{tuple(classes)}: it has {known}"
        )
    y = None if data.y is None else data.y[chosen]
    return dataclasses.replace(data, x=data.x[chosen], y=y, label=data.label[chosen])


def _refuse_nan(spec: Spec, array: np.ndarray, what: str) -> None:
    """Raises for the first number that is NaN or infinite, reading a large array part by part."""
    rows_at_once = max(1, 2**26 // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows_at_once):
        part = array[start : start + rows_at_once]
        finite = np.isfinite(part).reshape(len(part), -1)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise errors.DataError(
                f"{spec.name} ({spec.split}): example {start + row}, number {column} {what}is "
                f"{part[row].reshape(-1)[column]}: repair or leave out that example"
            )


def first(data: Dataset, count: int) -> types.Batch:
    """Returns the first examples of a data set, at most `count`."""
    raw = data.rows(np.arange(min(count, data.length)))
    return jax.jit(data.decode)({name: jnp.asarray(array) for name, array in raw.items()})


def batches(n: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields index and mask, int32 and float32 `[size]`, that walk over 0..n-1 once, in order."""
    for start in range(0, n, size):
        place = np.arange(start, start + size)
        yield np.minimum(place, n - 1).astype(np.int32), (place < n).astype(np.float32)
