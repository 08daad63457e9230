"""Your own arrays: FOLDER/<split>.npy or .npz, and if you like FOLDER/<split>_label.npy."""

import pathlib
from typing import Any
import zipfile
import zlib

import numpy as np

from sae_jax import errors
from sae_jax.data import base


def load(split: str, folder: str, scale: float = 255.0) -> base.Arrays:
    """Returns the rows of FOLDER/<split>.npy, mapped into memory, or of FOLDER/<split>.npz.

    An .npz holds "x" and perhaps "label", or one array of any name; it is read whole.

    Args:
      split: file name without its ending, perhaps with rows: "train", "train[:55000]".
      folder: of the files. `x` is `[n, d]`, `[n, height, width]` or `[n, height, width, channels]`,
        `label` integer `[n]`.
      scale: what integers are divided by.
    """
    if not folder:
        raise errors.DataError("the data set folder needs --config.data.folder=FOLDER")
    part, _ = base.parse_split(split)
    where = pathlib.Path(folder).expanduser()
    path = _find(where, part)
    x, label = read(path)
    label_path = where / f"{part}_label.npy"
    if label_path.is_file():
        label, _ = read(label_path)
    check(path, x, label)
    return base.from_splits(path.name, split, {part: (x, label)}, _grid(x), scale)


def _find(folder: pathlib.Path, part: str) -> pathlib.Path:
    """Returns the file that holds a split."""
    for path in (folder / f"{part}.npy", folder / f"{part}.npz"):
        if path.is_file():
            return path
    if not folder.is_dir():
        raise errors.DataError(f"there is no folder {folder}: set --config.data.folder")
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise errors.DataError(
        f"{folder} holds no {part}.npy and no {part}.npz (there: {shown or 'nothing'}): "
        "write it with numpy.save, or name another split"
    )


def read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the examples of a file and, if it is an .npz file that holds them, the labels."""
    try:
        if path.suffix == ".npy":
            return np.lib.format.open_memmap(path, mode="r"), None
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            return _unpack(path, archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise errors.DataError(
            f"{path} is truncated, damaged or holds Python objects ({reason}): save an array of "
            "numbers with numpy.save"
        ) from error


def _unpack(path: pathlib.Path, archive: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the examples and the labels of an open .npz file."""
    name = "x" if "x" in archive or len(archive.files) != 1 else archive.files[0]
    if name not in archive:
        raise errors.DataError(
            f'{path} holds no array "x" (there: {", ".join(archive.files) or "nothing"}): write it '
            "with numpy.savez(FILE, x=..., label=...)"
        )
    return np.asarray(archive[name]), archive.get("label")


def check(path: pathlib.Path, x: np.ndarray, label: np.ndarray | None) -> None:
    """Raises if the arrays are not examples and labels."""
    real = np.issubdtype(x.dtype, np.integer) or np.issubdtype(x.dtype, np.floating)
    if not (real or x.dtype == np.bool_):
        raise errors.DataError(f"{path} has type {x.dtype}: save integers or floats")
    if x.ndim not in (2, 3, 4) or x.size == 0:
        raise errors.DataError(
            f"{path} has shape {x.shape}: save [n, d], [n, height, width] or "
            "[n, height, width, channels], none of them 0"
        )
    if label is None:
        return
    if label.shape != x.shape[:1] or not np.issubdtype(label.dtype, np.integer):
        raise errors.DataError(
            f"the labels of {path} have shape {label.shape} and type {label.dtype}: save integers "
            f"of shape {x.shape[:1]}"
        )


def _grid(x: np.ndarray) -> tuple[int, int, int] | None:
    """Returns `(height, width, channels)` if the examples are pictures."""
    if x.ndim == 3:
        return (x.shape[1], x.shape[2], 1)
    return (x.shape[1], x.shape[2], x.shape[3]) if x.ndim == 4 else None
