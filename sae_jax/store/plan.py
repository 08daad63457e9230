"""What a store will hold, known before the first row is written."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from sae_jax import errors
from sae_jax.store import codec

PLAN, MANIFEST = "plan.json", "manifest.json"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written.

    Attributes:
      sites: width of each, by name.
      dtype: of the rows, one of `codec.DTYPES`.
      splits: rows of each shard of a split, by name, in the order in which they lie: a shard
        belongs to one split.
      source: what the rows are made of, as JSON can hold it: who goes on must have the same.
      outlier: a row whose norm at some site is above so many times the median of that site is
        excluded from training and from the statistics; 0 for none.
    """

    sites: Mapping[str, int]
    dtype: str
    splits: Mapping[str, Sequence[int]]
    source: Mapping[str, Any]
    outlier: float = 10.0

    def __post_init__(self) -> None:
        """Refuses what cannot be written."""
        if self.dtype not in codec.DTYPES:
            raise errors.UserError(f'dtype="{self.dtype}": choose from {", ".join(codec.DTYPES)}')
        if not self.sites or not self.shards or min(self.shards) < 1:
            raise errors.UserError("a store needs a site and, in each shard, a row")

    @property
    def shards(self) -> list[int]:
        """Rows of each shard."""
        return [rows for split in self.splits.values() for rows in split]

    @property
    def starts(self) -> np.ndarray:
        """int64 `[shards + 1]`: the first row of each shard, and behind the last one."""
        return np.concatenate([[0], np.cumsum(self.shards)]).astype(np.int64)

    @property
    def row_bytes(self) -> int:
        """What a row takes at all sites together, its norms included."""
        return sum(codec.row_bytes(width, self.dtype) + 4 for width in self.sites.values()) + 1

    def range_of(self, split: str) -> tuple[int, int]:
        """Returns the first row of a split and the one behind its last."""
        if split not in self.splits:
            raise errors.DataError(
                f'the store has no split "{split}": it has {", ".join(self.splits)}'
            )
        names = list(self.splits)
        sizes = [sum(self.splits[name]) for name in names[: names.index(split) + 1]]
        return sum(sizes[:-1]), sum(sizes)

    def to_json(self) -> str:
        """Returns it as text."""
        return json.dumps({"version": _VERSION, **dataclasses.asdict(self)}, indent=1) + "\n"


def load(folder: Path) -> Plan:
    """Returns the plan of a store.

    Raises:
      DataError: there is none, or it is none of ours.
    """
    try:
        found = json.loads((folder / PLAN).read_text())
        if found.pop("version") != _VERSION:
            raise errors.DataError(f"{folder} was written by another version: write it again")
        return Plan(**found)
    except OSError as error:
        raise errors.DataError(
            f"{folder} is no store of activations ({error.strerror}): write one with "
            "experiments.dump"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise errors.DataError(f"{folder / PLAN} is damaged: write the store again") from error


def shard_path(folder: Path, number: int) -> Path:
    """Returns where a shard lies; its size and checksum lie beside it, in .json."""
    return folder / "shards" / f"{number:05d}.safetensors"
