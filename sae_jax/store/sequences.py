"""The tokens that rows are of: sequence after sequence, position after position."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from sae_jax import errors, files
from sae_jax.store import mapped

FILE = "sequences.safetensors"


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What a language model read.

    Attributes:
      ids: int32 `[n, length]`, token ids; what lies behind the end of a sequence means nothing.
      lengths: int32 `[n]`, tokens of each sequence: so many rows of the store are its.
      documents: int32 `[n]`, which text a sequence is of.
    """

    ids: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """int64 `[n + 1]`: the first row of each sequence, and behind the last."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns sequence and position of each row, int64."""
        sequence = np.searchsorted(self.starts, rows, side="right") - 1
        return sequence, rows - self.starts[sequence]

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """Returns the token id of each row, int32."""
        return self.ids[self.places(rows)]


def save(folder: Path, found: Sequences) -> None:
    """Writes sequences into the folder of a store."""
    tensors = {name: np.ascontiguousarray(array) for name, array in vars(found).items()}
    content = safetensors.save({name: tensors[name] for name in ("ids", "lengths", "documents")})
    files.replace(folder / FILE, content)


def load(folder: Path) -> Sequences | None:
    """Returns the sequences of a store, mapped into memory; None if its rows are of no tokens."""
    path = folder / FILE
    if not path.is_file():
        return None
    found = mapped.tensors(path)
    if set(found) != {"ids", "lengths", "documents"}:
        raise errors.DataError(f"{path} is damaged: write the store again")
    return Sequences(**found)
