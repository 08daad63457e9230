"""safetensors files as memory maps: nothing is read before it is asked for.

The file: 8 bytes with the length of the header, the header in JSON, `{name: {"dtype", "shape",
"data_offsets"}}`, and the tensors (https://github.com/huggingface/safetensors). The library's own
reader has no memory map of single rows and no bfloat16 for NumPy.
"""

import errno
import json
from pathlib import Path
import struct
from typing import Any

import ml_dtypes
import numpy as np

from sae_jax import errors

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I8": np.int8,
    "U8": np.uint8,
}
_TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # The last: as many maps as there may be.


def tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by name, each a read-only memory map.

    Raises:
      DataError: it is not there, cut off or no safetensors file.
      UserError: more files are open than the process may have.
    """
    try:
        header, start = _header(path)
        whole = np.memmap(path, np.uint8, mode="r")
        return {name: _view(whole, start, entry) for name, entry in header.items()}
    except OSError as error:
        refuse_too_many(path, error)
        raise errors.DataError(f"cannot read {path} ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise errors.DataError(f"{path} is cut off or damaged: write or fetch it again") from error


def refuse_too_many(path: Path, error: OSError) -> None:
    """Raises a UserError if what failed says nothing of the file: too many others are open."""
    if error.errno in _TOO_MANY:
        raise errors.UserError(
            f"cannot open {path} ({error.strerror}): raise the limit, as by ulimit -n 65536, or "
            "write stores of fewer shards, with a larger shard_bytes"
        ) from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("the header is longer than the file")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _view(whole: np.ndarray, start: int, entry: dict[str, Any]) -> np.ndarray:
    first, last = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if start + last > len(whole) or last - first != np.prod(entry["shape"]) * dtype.itemsize:
        raise ValueError("a tensor lies outside the file")
    return whole[start + first : start + last].view(dtype).reshape(entry["shape"])
