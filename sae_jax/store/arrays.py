"""Activations that another program kept as arrays: NumPy's, safetensors or HDF5, made a store of.

An array is `[rows, width]`, or `[sequences, length, width]` whose first two axes become one. Files
that a pattern finds follow one another in the order of their names. Only what a shard takes is in
memory; of a compressed .npz a whole array is.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import glob
import itertools
from pathlib import Path
from typing import Any
import zipfile
import zlib

import numpy as np

from sae_jax import errors
from sae_jax.store import mapped, plan as plans, writer

_SUFFIXES = (".npy", ".npz", ".safetensors", ".h5", ".hdf5")
_SAMPLE = 256  # Rows of an array that tell it from another.


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one site, of arrays that follow one another.

    Attributes:
      site: what they are called in the store.
      names: of the arrays, as messages name them.
      arrays: anything with `shape` and `dtype` that gives NumPy arrays for slices.
    """

    site: str
    names: Sequence[str]
    arrays: Sequence[Any]

    def __post_init__(self) -> None:
        """Refuses arrays that are no rows of one width."""
        for name, array in zip(self.names, self.arrays, strict=True):
            # ml_dtypes' bfloat16 is of no kind that NumPy knows.
            if len(array.shape) not in (2, 3) or np.dtype(array.dtype).kind not in "fV":
                raise errors.DataError(
                    f"{name} is {np.dtype(array.dtype).name} {tuple(array.shape)}: activations are "
                    "real numbers [rows, width] or [sequences, length, width]"
                )
            if array.shape[-1] != self.width:
                raise errors.DataError(
                    f"{name} has rows of {array.shape[-1]}, {self.names[0]} of {self.width}"
                )

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.arrays[0].shape[-1]

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """int64 `[arrays + 1]`: the first row of each array, and behind the last."""
        lengths = [int(np.prod(array.shape[:-1])) for array in self.arrays]
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def length(self) -> int:
        """Rows."""
        return int(self.starts[-1])

    def between(self, first: int, until: int) -> np.ndarray:
        """Returns the rows `first .. until - 1`, `[rows, width]`."""
        parts = []
        for array, (start, stop) in zip(self.arrays, itertools.pairwise(self.starts), strict=True):
            low, high = max(first, start) - start, min(until, stop) - start
            if low < high:
                parts.append(_flat(array, int(low), int(high)))
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def place(self, row: int) -> str:
        """Returns how a message names a row: its file, and where it lies in there."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        shape, there = self.arrays[number].shape, row - int(self.starts[number])
        if len(shape) == 2:
            return f"row {there} of {self.names[number]}"
        sequence, position = divmod(there, shape[1])
        return f"row [{sequence}, {position}] of {self.names[number]}"

    def about(self) -> dict[str, Any]:
        """Returns what tells them from others: files, shapes and a checksum of rows here and there.

        The checksum is of the first and the last rows of each array.
        """
        crc32 = 0
        for start, stop in itertools.pairwise(self.starts):
            for first in (start, max(start, stop - _SAMPLE)):
                part = self.between(first, min(first + _SAMPLE, stop))
                crc32 = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc32)
        names = [Path(name).name for name in self.names]
        return {"arrays": names, "rows": self.length, "crc32": f"{crc32:08x}"}


def find(pattern: str, site: str) -> Rows:
    """Returns the arrays that a pattern names.

    Args:
      pattern: a file, or files as the shell finds them, "acts/*.npy"; behind a colon the name of an
        array where a file has several, "acts/*.safetensors:resid".
      site: what the rows are called in the store.

    Raises:
      DataError: there is no such file or array, or it is cut off or none that is known.
    """
    files, _, name = pattern.rpartition(":") if _has_name(pattern) else (pattern, "", "")
    paths = [Path(path) for path in sorted(glob.glob(files))]  # noqa: PTH207
    if not paths:
        raise errors.DataError(f"there is no file {files}")
    arrays = {str(path): _array(path, name) for path in paths}
    return Rows(site, tuple(arrays), tuple(arrays.values()))


def plan(
    found: Sequence[Rows],
    dtype: str = "bfloat16",
    held_out: float = 0.05,
    shard_bytes: int = 2**27,
    outlier: float = 10.0,
) -> plans.Plan:
    """Returns the plan of a store of arrays.

    Args:
      found: the rows of each site.
      dtype: of the rows in the store.
      held_out: share of the rows that are "valid", and again that are "test", the last ones: rows
        that lie together are often of one text, and a text should not be in two splits.
      shard_bytes: of a shard, about.
      outlier: as of `Plan`.

    Raises:
      UserError: sites differ in their rows, or a split would be empty.
    """
    length = found[0].length
    for rows in found[1:]:
        if rows.length != length:
            raise errors.UserError(
                f"{rows.site} has {rows.length:,} rows, {found[0].site} {length:,}: they are to be "
                "of the same tokens"
            )
    aside = round(held_out * length)
    sizes = {"train": length - 2 * aside, "valid": aside, "test": aside}
    sizes = {split: size for split, size in sizes.items() if held_out or split == "train"}
    if min(sizes.values()) < 1:
        raise errors.UserError(f"{length} rows cannot be held out by {held_out:g}: choose another")
    widths = {rows.site: rows.width for rows in found}
    most = max(1, shard_bytes // plans.Plan(widths, dtype, {"": [1]}, {}).row_bytes)
    splits = {
        split: [min(most, size - first) for first in range(0, size, most)]
        for split, size in sizes.items()
    }
    source = {"arrays": {rows.site: rows.about() for rows in found}}
    return plans.Plan(widths, dtype, splits, source, outlier)


def write(
    found: Sequence[Rows],
    store: writer.Writer,
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda rows: None,
) -> bool:
    """Writes the shards that are missing; returns whether the store is finished.

    Raises:
      DataError: a row is not finite.
    """
    for number in store.missing(process, processes):
        first, until = (int(row) for row in store.plan.starts[number : number + 2])
        parts = {rows.site: rows.between(first, until) for rows in found}
        for rows in found:
            finite = np.isfinite(parts[rows.site]).all(axis=1)
            if not finite.all():
                raise errors.DataError(
                    f"{rows.place(first + int(np.argmin(finite)))} is not finite: repair it or "
                    "leave it out, and write the store anew"
                )
        store.write(number, parts)
        progress(until - first)
    return store.finish()


def _has_name(pattern: str) -> bool:
    files, colon, _ = pattern.rpartition(":")
    return bool(colon) and Path(files).suffix in _SUFFIXES


def _array(path: Path, name: str) -> Any:
    """Returns the array of a file, or that of the name."""
    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise _damaged(path, error) from error
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".npz": _npz,
        ".safetensors": mapped.tensors,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
    }
    if path.suffix not in readers:
        raise errors.DataError(f"{path}: what it holds is not known; {', '.join(_SUFFIXES)} are")
    arrays = readers[path.suffix](path)
    names = list(arrays)
    if not name and len(names) == 1:
        name = names[0]
    if name not in names:
        raise errors.DataError(f"{path} has {', '.join(names)}: name one, as in {path}:{names[0]}")
    return arrays[name]


def _npz(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            return dict(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _hdf5(path: Path) -> Mapping[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise errors.UserError(f"{path} needs h5py: pip install h5py") from error
    found: dict[str, Any] = {}
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error
    file.visititems(
        lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None
    )
    return found


def _damaged(path: Path, error: Exception) -> errors.DataError:
    if any(word in str(error) for word in ("pickle", "Python objects", "Object arrays")):
        return errors.DataError(
            f"{path} holds Python objects, which are not read, as they could run code: save arrays "
            "of numbers, as in np.save(file, np.stack(rows))"
        )
    return errors.DataError(f"{path} is cut off or damaged: write or fetch it again")


def _flat(array: Any, first: int, until: int) -> np.ndarray:
    """Returns rows of an array whose leading axes are taken for one."""
    if len(array.shape) == 2:
        return np.asarray(array[first:until])
    length = array.shape[1]
    low = first // length
    some = np.asarray(array[low : -(-until // length)])
    return some.reshape(-1, array.shape[2])[first - low * length : until - low * length]
