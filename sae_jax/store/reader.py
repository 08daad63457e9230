"""Reads a finished store: any rows in any order, from memory maps."""

from collections.abc import Iterator
import functools
import json
from pathlib import Path
import resource
from typing import Any, Literal
import zlib

import numpy as np

from sae_jax import errors
from sae_jax.store import codec, mapped, plan as plans, sequences, writer


class Store:
    """A finished store; rows are counted over all of its shards, the excluded ones too.

    Attributes:
      folder: where it lies.
      plan: what it holds.
      manifest: what was counted and measured when it was finished.
    """

    def __init__(self, folder: Path, damaged: Literal["refuse", "skip"] = "refuse") -> None:
        """Opens a store and looks whether each shard is whole by its size; `verify` reads it.

        Args:
          folder: of the store.
          damaged: what becomes of a shard that is missing or cut off: an error, or its rows are
            excluded and `skipped` names it.

        Raises:
          DataError: it is no store, or not finished, or a shard is damaged.
        """
        self.folder, self.plan = folder, plans.load(folder)
        try:
            self.manifest: dict[str, Any] = json.loads((folder / plans.MANIFEST).read_text())
        except OSError as error:
            there = len(list((folder / "shards").glob("*.json")))
            raise errors.DataError(
                f"{folder} is not finished: {there} of {len(self.plan.shards)} shards are there; "
                "run the same dump again"
            ) from error
        except ValueError as error:
            raise errors.DataError(
                f"{folder / plans.MANIFEST} is damaged: delete it and run the same dump again"
            ) from error
        self._starts = self.plan.starts
        self.skipped: list[Path] = []
        self._shards = _open_all(self, damaged)

    def verify(self) -> list[Path]:
        """Returns the shards whose bytes are not those that were written; reads all of them."""
        found = []
        for number, about in enumerate(self.manifest["shards"]):
            path = plans.shard_path(self.folder, number)
            if path not in self.skipped and f"{_crc32(path):08x}" != about["crc32"]:
                found.append(path)
        return found

    @functools.cached_property
    def excluded(self) -> np.ndarray:
        """int64, rising: rows that no training sees."""
        path = self.folder / writer.EXCLUDED
        rows = np.load(path) if path.is_file() else np.zeros(0, np.int64)
        if f"{zlib.crc32(rows.tobytes()):08x}" != self.manifest["excluded_crc32"]:
            raise errors.DataError(
                f"{path} is damaged: delete {plans.MANIFEST} beside it and run the same dump again"
            )
        gone = [
            np.arange(self._starts[number], self._starts[number + 1])
            for number, shard in enumerate(self._shards)
            if shard is None
        ]
        return np.union1d(rows, np.concatenate(gone)) if gone else rows

    @functools.cached_property
    def sequences(self) -> sequences.Sequences | None:
        """The tokens that rows are of, if they are of tokens."""
        return sequences.load(self.folder)

    @functools.cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        """Mean and mean square over the first split, `{"<site>/mean": float64 [width]}`."""
        return mapped.tensors(self.folder / writer.STATISTICS)

    def read(self, site: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns rows as they are kept: `{"": [n, width]}` and, of int8, `{"/scale": [n]}`.

        Args:
          site: by name.
          rows: int `[n]`, none of a shard that was skipped.
        """
        self.width(site)
        names = [site, site + codec.SCALE] if self.plan.dtype == "int8" else [site]
        whole = next(shard for shard in self._shards if shard is not None)
        found = {
            name: np.empty((len(rows), *whole[name].shape[1:]), whole[name].dtype) for name in names
        }
        for number, place in self._parts(rows):
            for name in names:
                there = rows[place] - self._starts[number]
                found[name][place] = _take(self._shards[number][name], there)
        return {name.removeprefix(site): array for name, array in found.items()}

    def _parts(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each shard that rows are of, and which of the rows they are."""
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        edges = np.flatnonzero(np.diff(shard[order])) + 1
        for place in np.split(order, edges) if len(rows) else ():
            yield int(shard[place[0]]), place

    def width(self, site: str) -> int:
        """Returns the numbers of a row at a site."""
        if site not in self.plan.sites:
            raise errors.DataError(
                f'{self.folder} has no site "{site}": it has {", ".join(self.plan.sites)}'
            )
        return self.plan.sites[site]


class Kept:
    """The rows of a split that are not excluded, numbered from 0 without gaps."""

    def __init__(self, store: Store, split: str) -> None:
        """Finds them."""
        first, last = store.plan.range_of(split)
        out = store.excluded[slice(*np.searchsorted(store.excluded, [first, last]))]
        self._first, self._out = first, out
        self._before = out - first - np.arange(len(out))  # Kept rows before each excluded one.
        self.length = last - first - len(out)

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Returns the rows of the store that numbers stand for, int64."""
        index = np.asarray(index, np.int64)
        return self._first + index + np.searchsorted(self._before, index, side="right")

    def index(self, rows: np.ndarray) -> np.ndarray:
        """Returns the numbers of rows of the split, int64; -1 for one that is excluded."""
        rows = np.asarray(rows, np.int64)
        excluded = np.isin(rows, self._out)
        return np.where(excluded, -1, rows - self._first - np.searchsorted(self._out, rows))


def _open_all(store: Store, damaged: str) -> list[Any]:
    """Returns the tensors of each shard; None for one that is skipped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # Each map holds a file open.
    wanted = len(store.plan.shards) + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    shards: list[Any] = []
    for number, about in enumerate(store.manifest["shards"]):
        path = plans.shard_path(store.folder, number)
        try:
            shards.append(_open(path, about["bytes"], store.plan, store.plan.shards[number]))
        except errors.DataError:
            if damaged == "refuse":
                raise
            store.skipped.append(path)
            shards.append(None)
    return shards


def _open(path: Path, size: int, plan: plans.Plan, rows: int) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise errors.DataError(
            f"{path} is not there: the same dump command writes it anew, or leave it out with "
            'damaged="skip"'
        )
    if path.stat().st_size == size:
        found = mapped.tensors(path)
        shapes = {site: found[site].shape for site in plan.sites if site in found}
        if shapes == {site: (rows, width) for site, width in plan.sites.items()}:
            return found
    raise errors.DataError(
        f"{path} is damaged: delete it and run the same dump again, or leave it out with "
        'damaged="skip"'
    )


def _take(tensor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns rows of a memory map, each copied as one block of bytes."""
    size = tensor[:1].nbytes
    blocks = tensor.reshape(len(tensor), -1).view(np.dtype((np.void, size)))[:, 0]
    return blocks[rows].view(tensor.dtype).reshape(len(rows), *tensor.shape[1:])


def _crc32(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while part := file.read(2**24):
            found = zlib.crc32(part, found)
    return found
