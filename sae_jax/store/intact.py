"""Whether files are as they were written, by checksums that are computed once.

`checked.json` in the folder of a store remembers the size and the time of the last change of each
file whose checksum was right: it is not read again until one of them is another. Where the folder
cannot be written, each process reads anew.
"""

from collections.abc import Mapping
from concurrent import futures
import contextlib
import json
import os
from pathlib import Path
from typing import Any
import zlib

from sae_jax import files

_FILE = "checked.json"


def changed(folder: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """Returns the files whose checksum is not that which they were written with.

    Args:
      folder: of the store, where it is remembered.
      wanted: CRC-32 of each file, eight hexadecimal digits.
    """
    known = _known(folder)
    now = {path: [crc, *_stamp(path)] for path, crc in wanted.items()}
    new = [path for path, entry in now.items() if known.get(path.name) != entry]
    with futures.ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        sums = dict(zip(new, pool.map(crc32, new), strict=True))
    whole = {path.name: now[path] for path in new if sums[path] == wanted[path]}
    if whole:
        with contextlib.suppress(OSError):
            files.replace(folder / _FILE, json.dumps({**known, **whole}, indent=1) + "\n")
    return [path for path in new if path.name not in whole]


def crc32(path: Path) -> str:
    """Returns the CRC-32 of a file, eight hexadecimal digits."""
    found = 0
    with path.open("rb") as file:
        while part := file.read(2**24):
            found = zlib.crc32(part, found)
    return f"{found:08x}"


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _known(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
