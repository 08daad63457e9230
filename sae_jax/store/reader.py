"""Reads a finished store: any rows in any order, from memory maps."""

from collections.abc import Iterator
import functools
import json
import os
from pathlib import Path
import resource
from typing import Any, Literal

from absl import logging
import numpy as np

from sae_jax import errors
from sae_jax.store import codec, intact, mapped, plan as plans, sequences, writer


class Store:
    """A finished store; rows are counted over all of its shards, the excluded ones too.

    Attributes:
      folder: where it lies.
      plan: what it holds.
      manifest: what was counted and measured when it was finished.
    """

    def __init__(
        self,
        folder: Path,
        damaged: Literal["refuse", "skip"] = "refuse",
        checksums: bool = True,
    ) -> None:
        """Opens a store and looks whether each shard is as it was written.

        Args:
          folder: of the store.
          damaged: what becomes of a shard that is missing, cut off or altered: an error, or its
            rows are excluded, a warning says so, and `skipped` names it.
          checksums: whether shards are read once, at about a gigabyte a second and core, and
            compared with their checksums. What was right is remembered beside them; only `verify`
            reads it again. False looks at sizes alone: for terabytes, which take an hour.

        Raises:
          DataError: it is no store, or not finished, or a shard is damaged, or a file beside the
            shards is not there.
          UserError: more files are open than the process may have.
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
        self._checksums = checksums
        self.skipped: list[Path] = []
        self._shards = _open_all(self, damaged, checksums)
        if damaged == "refuse":
            self.refuse_gone()

    def refuse_gone(self) -> None:
        """Raises a DataError if a file beside the shards is not there; none can be left out."""
        for path in self._beside():
            _refuse_gone(path)

    def wanted(self) -> dict[Path, str]:
        """Returns the checksums of shards and of files beside them."""
        shards = {
            plans.shard_path(self.folder, number): about["crc32"]
            for number, about in enumerate(self.manifest["shards"])
        }
        return shards | self._beside()

    def _beside(self) -> dict[Path, str]:
        """Returns the checksums of the files beside the shards."""
        # Stores that were written by an older version know those of shards alone.
        others = self.manifest.get("files") or {}
        return {self.folder / name: crc32 for name, crc32 in others.items()}

    def verify(self) -> list[Path]:
        """Returns the files whose bytes are not those that were written; reads all of them.

        What it finds is remembered: no one trusts a damaged file for what it was before.
        """
        there = {path: crc for path, crc in self.wanted().items() if path not in self.skipped}
        found = list(intact.changed(self.folder, there, anew=True))
        try:
            self._listed()
        except errors.DataError:
            found.append(self.folder / writer.EXCLUDED)
        return found

    @functools.cached_property
    def excluded(self) -> np.ndarray:
        """int64, rising: rows that no training sees."""
        rows = self._listed()
        gone = [
            np.arange(self._starts[number], self._starts[number + 1])
            for number, shard in enumerate(self._shards)
            if shard is None
        ]
        return np.union1d(rows, np.concatenate(gone)) if gone else rows

    def _listed(self) -> np.ndarray:
        """Returns the rows that were excluded when the store was finished."""
        return writer.load_excluded(self.folder, self.manifest["excluded_crc32"])

    @functools.cached_property
    def sequences(self) -> sequences.Sequences | None:
        """The tokens that rows are of, if they are of tokens."""
        self._refuse_changed(sequences.FILE)
        return sequences.load(self.folder)

    @functools.cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        """Mean and mean square over the first split, `{"<site>/mean": float64 [width]}`."""
        self._refuse_changed(writer.STATISTICS)
        return mapped.tensors(self.folder / writer.STATISTICS)

    def _refuse_changed(self, name: str) -> None:
        """Raises if a file beside the shards is not as it was written."""
        path = self.folder / name
        known = {there: crc32 for there, crc32 in self._beside().items() if there == path}
        for there in known:
            _refuse_gone(there)
        if self._checksums and (how := intact.changed(self.folder, known)):
            raise errors.DataError(f"{path} {how[path]}: run the same dump again")

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


def _open_all(store: Store, damaged: str, checksums: bool) -> list[Any]:
    """Returns the tensors of each shard; None for one that is skipped."""
    bad: dict[Path, str] = {}
    if checksums:
        whole = {  # What is cut off is known without being read.
            plans.shard_path(store.folder, number): about["crc32"]
            for number, about in enumerate(store.manifest["shards"])
            if _size(plans.shard_path(store.folder, number)) == about["bytes"]
        }
        bad = intact.changed(store.folder, whole)
    _allow_open_files(len(store.plan.shards))  # Each map holds one.
    shards: list[Any] = []
    for number, about in enumerate(store.manifest["shards"]):
        path = plans.shard_path(store.folder, number)
        try:
            if path in bad:
                raise _damaged(path, bad[path])
            shards.append(_open(path, about["bytes"], store.plan, store.plan.shards[number]))
        except errors.DataError:
            if damaged == "refuse":
                raise
            rows, how = store.plan.shards[number], bad.get(path, "is damaged")
            logging.warning("%s %s: its %d rows are left out", path, how, rows)
            store.skipped.append(path)
            shards.append(None)
    return shards


def _allow_open_files(count: int) -> None:
    """Raises the limit of open files so far that so many more can be, if it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        wanted = len(os.listdir("/dev/fd")) + count + 256
    except OSError:
        wanted = count + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
    raise _damaged(path)


def _refuse_gone(path: Path) -> None:
    """Raises if a file beside the shards is not there."""
    if not path.is_file():
        raise errors.DataError(f"{path} is not there: run the same dump again")


def _damaged(path: Path, how: str = "is damaged") -> errors.DataError:
    return errors.DataError(
        f'{path} {how}: delete it and run the same dump again, or leave it out with damaged="skip"'
    )


def _size(path: Path) -> int:
    """Returns the bytes of a file, -1 if it is not there."""
    return path.stat().st_size if path.is_file() else -1


def _take(tensor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns rows of a memory map, each copied as one block of bytes."""
    size = tensor[:1].nbytes
    blocks = tensor.reshape(len(tensor), -1).view(np.dtype((np.void, size)))[:, 0]
    return blocks[rows].view(tensor.dtype).reshape(len(rows), *tensor.shape[1:])
