"""Whether files are as they were written, by checksums that are computed once.

`checked.json` in the folder of a store remembers each file whose checksum was right: its size and
when it changed, by the clock of the file system too, which no copy keeps. It is not read again
until one of them is another. Where the folder cannot be written, the process remembers.
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
from sae_jax.store import mapped

_FILE = "checked.json"
_seen: dict[Path, list[Any]] = {}  # What this process found right.


def changed(folder: Path, wanted: Mapping[Path, str], anew: bool = False) -> dict[Path, str]:
    """Returns the files that are not as they were written, and what is wrong with each.

    Args:
      folder: of the store, where it is remembered.
      wanted: CRC-32 of each file, eight hexadecimal digits.
      anew: whether files are read that are remembered as right.

    Raises:
      UserError: more files are open than the process may have.
    """
    known = {} if anew else _known(folder)
    wrong, stamps = {}, {}
    for path, crc in wanted.items():
        try:
            stamps[path] = [crc, *_stamp(path)]
        except OSError as error:
            wrong[path] = _unreadable(path, error)
    new = [
        path
        for path, entry in stamps.items()
        if anew or entry not in (known.get(path.name), _seen.get(path.absolute()))
    ]
    with futures.ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        told = zip(new, pool.map(_compared, new, [wanted[path] for path in new]), strict=True)
        wrong |= {path: said for path, said in told if said}
    _remember(folder, {path: stamps[path] for path in new if path not in wrong}, wrong)
    return wrong


def crc32(path: Path) -> str:
    """Returns the CRC-32 of a file, eight hexadecimal digits."""
    found = 0
    with path.open("rb") as file:
        while part := file.read(2**24):
            found = zlib.crc32(part, found)
    return f"{found:08x}"


def _compared(path: Path, wanted: str) -> str:
    """Returns what is wrong with a file, "" for nothing."""
    try:
        return "" if crc32(path) == wanted else "is damaged"
    except OSError as error:
        return _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there"
    mapped.refuse_too_many(path, error)
    return f"cannot be read ({error.strerror or error})"


def _stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _remember(folder: Path, right: Mapping[Path, list[Any]], wrong: Mapping[Path, str]) -> None:
    """Adds files to those that are known to be right, and takes others out."""
    known = _known(folder)
    names = {path.name for path in wrong}
    entries = {path.name: entry for path, entry in right.items()}
    now = {name: entry for name, entry in known.items() if name not in names} | entries
    for path in wrong:
        _seen.pop(path.absolute(), None)
    _seen.update({path.absolute(): entry for path, entry in right.items()})
    if now != known:
        with contextlib.suppress(OSError):
            files.replace(folder / _FILE, json.dumps(now, indent=1) + "\n")


def _known(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
