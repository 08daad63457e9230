"""Reads a file of new examples for a trained run, and refuses what does not fit the run's data."""

import dataclasses
from pathlib import Path

import numpy as np

from sae_jax import errors
from sae_jax.data import base, folder


def load(path: Path, like: base.Arrays) -> base.Arrays:
    """Returns the examples of an .npy or .npz file, or of a folder of .png pictures.

    An .npz holds "x" and perhaps "label", or one array of any name.

    Args:
      path: of the file. Its numbers are in the units of the run's data: integers as the run's
        integers, which its scale divides, floats as what the model sees then.
      like: the run's data.

    Raises:
      DataError: there is no such file, it cannot be read, or its examples are not like the run's.
    """
    if path.is_dir():
        x, label = _pictures(path, like.spec), None
    elif path.suffix not in (".npy", ".npz"):
        raise errors.DataError(f"{path}: examples come in an .npy, an .npz or a folder of .png")
    elif not path.is_file():
        raise errors.DataError(f"there is no file {path}")
    else:
        x, label = folder.read(path)
    _refuse_shape(path, x, like.spec)
    folder.check(path, x, label)
    _refuse_integers(path, x, like)
    spec = dataclasses.replace(like.spec, name=path.name, split=str(path))
    data = base.Arrays(spec, x.reshape(len(x), -1), label, like.scale)
    _refuse_other_scale(path, data.x, like)
    return data


def labels(path: Path, count: int) -> np.ndarray:
    """Returns bool `[count]`, whether each example is an anomaly, from an .npy of 0 and 1."""
    if not path.is_file() or path.suffix != ".npy":
        raise errors.DataError(f"--labels={path}: name an .npy file of 0 (normal) and 1 (anomaly)")
    label, _ = folder.read(path)
    return anomalous(str(path), label, count)


def anomalous(name: str, label: np.ndarray, count: int) -> np.ndarray:
    """Returns bool `[count]` from labels 0 and 1, both of which must be there."""
    if label.shape != (count,):
        raise errors.DataError(f"{name} has shape {label.shape}: it takes a label of each example")
    strange = np.flatnonzero(~np.isin(label, (0, 1)))
    if len(strange):
        raise errors.DataError(
            f"{name}: row {strange[0]} is {label[strange[0]]}: write 0 (normal) and 1 (anomaly)"
        )
    if len(np.unique(label)) < 2:
        raise errors.DataError(f"{name} has only the label {label[0]}: AUROC needs both 0 and 1")
    return label.astype(bool)


def names(path: Path) -> list[str] | None:
    """Returns the files of a folder of pictures, in the order of its examples; None for a file."""
    return [picture.name for picture in sorted(path.glob("*.png"))] if path.is_dir() else None


def _pictures(path: Path, spec: base.Spec) -> np.ndarray:
    """Returns uint8 `[n, height, width, channels]`; each must have the size of the run's."""
    from PIL import Image, UnidentifiedImageError  # matplotlib brings it.

    shape = spec.image_shape
    if shape is None or shape[2] not in (1, 3):
        raise errors.DataError(f"{path} is a folder, but {spec.name} has no grey or RGB pictures")
    images = []
    for picture in sorted(path.glob("*.png")):
        try:
            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"))
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
            raise errors.DataError(f"{picture} cannot be read: {error}") from error
        if pixels.shape[:2] != shape[:2]:
            raise errors.DataError(
                f"{picture} has {pixels.shape[0]} x {pixels.shape[1]} pixels, the run's examples "
                f"{shape[0]} x {shape[1]}: bring it to that size"
            )
        images.append(pixels.reshape(shape))
    if not images:
        raise errors.DataError(f"{path} holds no .png")
    return np.stack(images)


def _refuse_shape(path: Path, x: np.ndarray, spec: base.Spec) -> None:
    """Raises unless `x` is `[n, d_in]` or `[n, *grid]`, where one channel may be left out."""
    wanted: set[tuple[int, ...]] = {(spec.d_in,)}
    if spec.grid is not None:
        wanted.add(spec.grid)
        if spec.grid[-1] == 1:
            wanted.add(spec.grid[:-1])
    if x.ndim == 0 or x.shape[1:] not in wanted:
        shapes = " or ".join(
            f"[n, {', '.join(map(str, shape))}]" for shape in sorted(wanted, key=len)
        )
        raise errors.DataError(f"{path} has shape {list(x.shape)}: the run takes {shapes}")
    if len(x) == 0:
        raise errors.DataError(f"{path} has shape {list(x.shape)}: there is no example in it")


def _refuse_integers(path: Path, x: np.ndarray, like: base.Arrays) -> None:
    """Raises for integers where the run knows floats, and for 0 and 1 that a scale would divide."""
    if not np.issubdtype(x.dtype, np.integer):
        return
    if not np.issubdtype(like.x.dtype, np.integer):
        raise errors.DataError(
            f"{path} holds integers ({x.dtype}), the run's data floats: save floats in its units"
        )
    if x.max() == 1 and like.x.max() > 1:
        raise errors.DataError(
            f"{path} holds no integer above 1, and the run divides integers by {like.scale:g}: "
            "save floats from 0 to 1 as floats"
        )


def _refuse_other_scale(path: Path, x: np.ndarray, like: base.Arrays) -> None:
    """Raises for the first row far outside the range of data that have one: integers, pixels."""
    if not np.issubdtype(like.x.dtype, np.integer):
        return  # A measurement may be as strange as it likes.
    low, high = (float(end) / like.scale for end in (like.x.min(), like.x.max()))
    scaled = x / (like.scale if np.issubdtype(x.dtype, np.integer) else 1.0)
    flat = scaled.reshape(len(x), -1)
    outside = (flat < 2 * low - high) | (flat > 2 * high - low)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise errors.DataError(
            f"{path}: row {row}, number {column} is {x.reshape(len(x), -1)[row, column]:g}: the "
            f"run's examples go from {low:g} to {high:g}, or as integers to {high * like.scale:g}"
        )
