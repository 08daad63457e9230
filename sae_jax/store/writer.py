"""Writes a store, shard by shard, so that it can be stopped at any byte."""

from collections.abc import Iterator, Mapping
import contextlib
import fcntl
import io
import json
from pathlib import Path
import shutil
import time
from typing import Any
import zlib

import jax
import numpy as np
from safetensors import numpy as safetensors

from sae_jax import errors, files
from sae_jax.store import codec, intact, mapped, plan as plans, sequences as token_sequences

NORM, SUM, SQUARE, SPECIAL = "/norm", "/sum", "/square", "special"
_ABANDONED = 3600.0  # Seconds since a part of a file grew, after which no one writes it.
_ROWS = 256  # Of float64 that are summed at once: they fit a cache.
EXCLUDED, STATISTICS = "excluded.npy", "statistics.safetensors"


class Writer:
    """Writes the shards that are missing.

    Attributes:
      folder: of the store.
      plan: what it will hold.
    """

    def __init__(
        self, folder: Path, plan: plans.Plan, tokens: token_sequences.Sequences | None = None
    ) -> None:
        """Begins a store, or goes on with one of the same plan.

        Raises:
          UserError: the folder holds a store of another plan, or cannot be written, or the disk has
            no room for what is missing.
        """
        self.folder, self.plan = folder, plan
        try:
            (folder / "shards").mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                self._begin(tokens)
        except OSError as error:
            raise errors.UserError(_cannot_write(folder, error)) from error
        needed = sum(plan.shards[number] for number in self.missing()) * plan.row_bytes
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise errors.UserError(
                f"{folder} has {free / 1e9:.1f} GB of room and {needed / 1e9:.1f} GB are to come: "
                "make room, choose a narrower dtype or fewer sites or examples"
            )

    def missing(self, process: int = 0, processes: int = 1) -> list[int]:
        """Returns the shards that are not there yet and are `process`'s to write."""
        mine = range(process, len(self.plan.shards), processes)
        return [number for number in mine if not self._is_written(number)]

    def write(
        self, number: int, rows: Mapping[str, Any], special: np.ndarray | None = None
    ) -> None:
        """Writes one shard.

        Args:
          number: of the shard.
          rows: float `[rows, width]` of each site, on the host or the device.
          special: bool `[rows]`, rows of special tokens, that no training sees; None for none.

        Raises:
          DataError: a number is not finite, or too large for float16.
          UserError: the disk is full, or an array has another shape than planned.
        """
        count = self.plan.shards[number]
        special = np.zeros(count, bool) if special is None else np.asarray(special)
        tensors: dict[str, np.ndarray] = {SPECIAL: special.astype(np.uint8)}
        for site, width in self.plan.sites.items():
            if np.shape(rows[site]) != (count, width) or special.shape != (count,):
                raise errors.UserError(
                    f"shard {number}: {site} has shape {np.shape(rows[site])}, not {count, width}"
                )
            tensors |= _of_site(site, rows[site], special, self.plan.dtype, number)
        content = safetensors.save(tensors)
        path = plans.shard_path(self.folder, number)
        about = {"bytes": len(content), "crc32": f"{zlib.crc32(content):08x}"}
        try:
            files.replace(path, content)
            files.replace(path.with_suffix(".json"), json.dumps(about) + "\n")
        except OSError as error:
            raise errors.UserError(_cannot_write(self.folder, error)) from error

    def finish(self) -> bool:
        """Writes what makes a store of the shards; False while one of them is missing.

        Where that is there, it is written anew if shards or other files are not those it is of.

        Raises:
          UserError: the disk is full; the same call goes on when there is room.
        """
        if self.missing():
            return False
        try:
            with _alone(self.folder):
                if not self._is_finished():
                    self._finish()
                self._remove_parts()
        except OSError as error:
            raise errors.UserError(_cannot_write(self.folder, error)) from error
        return True

    def _remove_parts(self) -> None:
        """Removes parts of files that writers left which were killed."""
        for path in self.folder.rglob(f"*{files.PARTIAL}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()

    def _begin(self, tokens: token_sequences.Sequences | None) -> None:
        path = self.folder / plans.PLAN
        if path.is_file() and path.read_text() != self.plan.to_json():
            raise errors.UserError(
                f"{self.folder} holds a store of {_difference(path, self.plan)}: choose "
                "another folder, or delete that one"
            )
        # Without a plan they may be left of another one.
        if tokens is not None and not (path.is_file() and self._has(token_sequences.FILE)):
            token_sequences.save(self.folder, tokens)
        if not path.is_file():
            files.replace(path, self.plan.to_json())
        self._remove_parts()

    def _has(self, name: str) -> bool:
        """Returns whether a file is there, and is the one that the manifest knows, if it does."""
        path = self.folder / name
        try:
            wanted = {path: self._manifest()["files"][name]}
        except (OSError, ValueError, KeyError, TypeError):
            return path.is_file()
        return not intact.changed(self.folder, wanted)

    def _is_finished(self) -> bool:
        """Returns whether there is a manifest, and it is of the shards and files that are there."""
        try:
            manifest = self._manifest()
            load_excluded(self.folder, manifest["excluded_crc32"])
            shards = [about(plans.shard_path(self.folder, n)) for n in range(len(self.plan.shards))]
            # Stores that were written by an older version know the checksums of shards alone.
            others = manifest.get("files") or {}
            return manifest["shards"] == shards and all(self._has(name) for name in others)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, errors.DataError):
            return False

    def _manifest(self) -> Any:
        return json.loads((self.folder / plans.MANIFEST).read_text())

    def _is_written(self, number: int) -> bool:
        path = plans.shard_path(self.folder, number)
        try:
            return path.stat().st_size == about(path)["bytes"]
        except (OSError, ValueError, KeyError):
            return False

    def _finish(self) -> None:
        numbers = range(len(self.plan.shards))
        small: dict[str, list[np.ndarray]] = {SPECIAL: []}
        small |= {site + NORM: [] for site in self.plan.sites}
        for number in numbers:
            shard = self._shard(number)
            for name, parts in small.items():
                parts.append(np.array(shard[name]))
        special = np.concatenate(small[SPECIAL]).astype(bool)
        excluded, sites = special.copy(), {}
        for site in self.plan.sites:
            norms = np.concatenate(small[site + NORM])
            median = float(np.median(norms[~special])) if not special.all() else 0.0
            far = ~special & (norms > self.plan.outlier * median) & (self.plan.outlier > 0)
            excluded |= far
            sites[site] = {"median_norm": median, "outliers": int(far.sum())}
        statistics = self._statistics(excluded, sites)
        files.replace(self.folder / STATISTICS, safetensors.save(statistics))
        rows, content = np.flatnonzero(excluded), io.BytesIO()
        np.save(content, rows)
        files.replace(self.folder / EXCLUDED, content.getvalue())
        manifest = {
            "rows": len(excluded),
            "special": int(special.sum()),
            "excluded": len(rows),
            "excluded_crc32": f"{zlib.crc32(rows.tobytes()):08x}",
            "sites": sites,
            "files": {
                path.name: intact.crc32(path)
                for path in (self.folder / STATISTICS, self.folder / token_sequences.FILE)
                if path.is_file()
            },
            "shards": [about(plans.shard_path(self.folder, number)) for number in numbers],
        }
        files.replace(self.folder / plans.MANIFEST, json.dumps(manifest, indent=1) + "\n")

    def _shard(self, number: int) -> dict[str, np.ndarray]:
        """Returns the tensors of a shard; a map holds its file open, so one is looked at a time."""
        return mapped.tensors(plans.shard_path(self.folder, number))

    def _statistics(self, excluded: np.ndarray, sites: dict[str, Any]) -> dict[str, np.ndarray]:
        """Returns mean and mean square of each site over the first split, and adds scalars."""
        starts = self.plan.starts
        of_first = range(len(next(iter(self.plan.splits.values()))))
        kept = max(int((~excluded[: starts[len(of_first)]]).sum()), 1)
        widths = self.plan.sites.items()
        total, square = ({site: np.zeros(width) for site, width in widths} for _ in range(2))
        norms = dict.fromkeys(self.plan.sites, 0.0)
        for number in of_first:
            shard, out = self._shard(number), excluded[starts[number] : starts[number + 1]]
            for site in self.plan.sites:
                x = rows_of(shard, site, np.flatnonzero(out & (shard[SPECIAL] == 0)))
                total[site] += shard[site + SUM] - x.sum(axis=0)
                square[site] += shard[site + SQUARE] - (x**2).sum(axis=0)
                norms[site] += float(shard[site + NORM][~out].sum(dtype=np.float64))
        found: dict[str, np.ndarray] = {}
        for site in self.plan.sites:
            found[f"{site}/mean"] = total[site] / kept
            found[f"{site}/mean_square"] = square[site] / kept
            sites[site] |= {
                "mean_norm": norms[site] / kept,
                "mean_square_norm": square[site].sum() / kept,
            }
        return found


def load_excluded(folder: Path, crc32: str) -> np.ndarray:
    """Returns the rows of a store that no training sees, int64, rising.

    Raises:
      DataError: they are not those of the checksum.
    """
    path = folder / EXCLUDED
    try:
        rows = np.load(path, allow_pickle=False) if path.is_file() else np.zeros(0, np.int64)
        if f"{zlib.crc32(rows.tobytes()):08x}" == crc32:
            return rows
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path) from error
    raise _damaged(path)


def rows_of(shard: Mapping[str, np.ndarray], site: str, rows: np.ndarray) -> np.ndarray:
    """Returns rows of a shard as float64 `[rows, width]`."""
    scale = shard.get(site + codec.SCALE)
    x = codec.decode(shard[site][rows], None if scale is None else scale[rows])
    return x.astype(np.float64)


def about(path: Path) -> dict[str, Any]:
    """Returns size and checksum of a shard, as they were when it was written."""
    return json.loads(path.with_suffix(".json").read_text())


def _of_site(
    site: str, x: Any, special: np.ndarray, dtype: str, number: int
) -> dict[str, np.ndarray]:
    """Returns the tensors of one site: rows as they are kept, their norms and sums."""
    kept = {name: np.asarray(array) for name, array in _encode(x, dtype).items()}
    count, width = kept[""].shape
    norms, total, square = np.empty(count, np.float32), np.zeros(width), np.zeros(width)
    scale = kept.get(codec.SCALE)
    for first in range(0, count, _ROWS):
        rows = slice(first, first + _ROWS)
        block = codec.decode(kept[""][rows], None if scale is None else scale[rows])
        block, usual = block.astype(np.float64), ~special[rows]
        squares = block * block
        norms[rows] = np.sqrt(squares.sum(axis=1))
        total += block[usual].sum(axis=0)
        square += squares[usual].sum(axis=0)
    if not np.isfinite(norms).all():
        row = int(np.argmin(np.isfinite(norms)))
        raise errors.DataError(
            f"shard {number}: row {row} of {site} is not finite as {dtype}: choose another dtype, "
            "or leave out what it is made of"
        )
    return {site + name: array for name, array in kept.items()} | {
        **{site + NORM: norms, site + SUM: total, site + SQUARE: square}
    }


_encode = jax.jit(codec.encode, static_argnums=1)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time begin or finish a store."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _damaged(path: Path) -> errors.DataError:
    return errors.DataError(f"{path} is damaged: run the same dump again")


def _difference(path: Path, plan: plans.Plan) -> str:
    """Returns in what the plan of a store differs, in a few words."""
    try:
        there, wanted = json.loads(path.read_text()), json.loads(plan.to_json())
    except ValueError:
        return "a damaged plan"
    different = [key for key in wanted if there.get(key) != wanted[key]]
    return f"another {' and '.join(different) or 'version'}"


def _cannot_write(folder: Path, error: OSError) -> str:
    return (
        f"cannot write to {folder} ({error.strerror or error}): make room or mend the folder, then "
        "start again; what is there stays"
    )
