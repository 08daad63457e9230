"""ELPV: 2,624 pictures of solar cells, sound and defective (Deitsch et al. 2019).

Electroluminescence pictures of 300 x 300 grey pixels, with the probability of a defect (0, 1/3, 2/3
or 1, as an expert judged) and the kind of silicon. From the package elpv-dataset; CC BY-NC-SA 4.0,
so not for commercial use.
"""

from collections.abc import Mapping
import io
import pathlib
import struct

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base

_PICTURES = tuple(f"images/cell{i:04d}.png" for i in range(1, 2625))
_MEMBERS = {name: f"elpv_dataset/data/{name}" for name in ("labels.csv", *_PICTURES)}
CELLS = ("mono", "poly")


def load(
    split: str,
    folder: str = "",
    size: int = 32,
    cell: str = "all",
    fold: int = 0,
    least_probability: float = 1.0,
) -> base.Arrays:
    """Returns pictures of cells, label 1 for a defect; "train" and "valid" have sound cells only.

    The cells whose probability of a defect is 0 are split at random, each kind for itself: 60 % are
    "train", 20 % "valid"; the other 20 % and the defective cells are "test", in the order of the
    files. Pictures are averaged over areas, in whole numbers, so that they are the same everywhere.

    Args:
      split: or rows of one.
      folder: with labels.csv and the folder images as they were published, or with the two files
        of the cache. Empty: the cache, or else they are fetched (90 MB; 236 MB in the cache).
      size: pixels of a side, at most 300.
      cell: "mono" (crystalline), "poly" or "all".
      fold: which random split, a seed.
      least_probability: of a defect, for a cell to count as defective. Those between 0 and this
        are left out: an expert was not sure.
    """
    if cell not in (*CELLS, "all"):
        raise errors.DataError(f'elpv has the cells "mono", "poly" and "all", not "{cell}"')
    if not 0 < least_probability <= 1:
        raise errors.DataError(
            f"least_probability={least_probability} has to be above 0, at most 1"
        )
    found = _published(folder) if folder else fetch.files(RECIPE)
    images = np.frombuffer(found["images-idx3-ubyte"], np.uint8, offset=16)
    images = images.reshape(struct.unpack(">3I", found["images-idx3-ubyte"][4:16]))
    probability, kind = _labels(found["labels.csv"])

    # Thirds are written with sixteen digits.
    defective = probability > least_probability - 1e-6
    parts: dict[str, list[np.ndarray]] = {"train": [], "valid": [], "test": []}
    for wanted in CELLS if cell == "all" else (cell,):
        sound = np.flatnonzero((probability == 0) & (kind == wanted))
        sound = sound[base.shuffled(len(sound), fold)]
        n_train, n_valid = round(0.6 * len(sound)), round(0.2 * len(sound))
        parts["train"].append(sound[:n_train])
        parts["valid"].append(sound[n_train : n_train + n_valid])
        parts["test"] += [sound[n_train + n_valid :], np.flatnonzero(defective & (kind == wanted))]
    part, _ = base.parse_split(split)
    rows = {name: np.sort(np.concatenate(chosen)) for name, chosen in parts.items()}
    # Only the pictures that are asked for are made smaller.
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        name: (smaller(images[chosen], size) if name == part else chosen, defective[chosen])
        for name, chosen in rows.items()
    }
    return base.from_splits("elpv", split, splits, (size, size, 1))


def smaller(images: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 `[n, size, size]`: each pixel the mean over its area of the larger picture.

    In units of `1 / (d size)` of a side, old and new pixels overlap by whole numbers, and a new one
    is `d` long. So the sum of overlap times overlap times old pixel, over `d ** 2`, is the mean; it
    is rounded half up.

    Args:
      images: uint8 `[n, d, d]`.
      size: from 1 to d.
    """
    d = images.shape[1]
    if not 0 < size <= d:
        raise errors.DataError(f"size={size} is not from 1 to the {d} pixels that there are")
    if size == d:
        return images
    old, new = np.arange(d)[:, None] * size, np.arange(size) * d
    overlap = np.minimum(old + size, new + d) - np.maximum(old, new)
    overlap = np.maximum(overlap, 0).astype(np.float64)
    out = np.empty((len(images), size, size), np.uint8)
    for start in range(0, len(images), 64):
        # Whole numbers far below 2**53: exact, whatever the order of summation.
        sums = overlap.T @ (images[start : start + 64].astype(np.float64) @ overlap)
        out[start : start + 64] = (2 * sums.astype(np.int64) + d**2) // (2 * d**2)
    return out


def _labels(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability of a defect, float `[n]`, and the kind of cell, str `[n]`."""
    rows = [line.split() for line in content.decode().splitlines() if line.strip()]
    return np.array([float(row[1]) for row in rows]), np.array([row[2] for row in rows])


def pack(found: fetch.Files) -> fetch.Files:
    """Returns the two files of the cache from labels.csv and the pictures that it names."""
    try:
        from PIL import Image
    except ImportError:
        raise fetch.RouteFailed("pictures are read by pillow: pip install pillow") from None
    names = [line.split()[0] for line in found["labels.csv"].decode().splitlines() if line.strip()]
    images = []
    for name in names:
        with Image.open(io.BytesIO(found[name])) as image:
            images.append(np.asarray(image))
    x = np.stack(images)
    header = struct.pack(">4I", 0x803, *x.shape)
    return {"images-idx3-ubyte": header + x.tobytes(), "labels.csv": found["labels.csv"]}


def _packed(route: fetch.Route) -> fetch.Route:
    """Returns the route whose pictures are packed into one file."""
    return fetch.Route(route.name, lambda: pack(route.read()))


def _published(folder: str) -> fetch.Files:
    """Reads a folder as it was published, or else one as the cache has it."""
    where = pathlib.Path(folder).expanduser()
    if not (where / "images").is_dir():
        return fetch.files(RECIPE, folder)
    try:
        names = ("labels.csv", *_PICTURES)
        found = pack({name: fetch.read(where / name) for name in names})
        for name, sha256 in RECIPE.sha256.items():
            fetch.check(found[name], sha256, name)
    except (fetch.RouteFailed, OSError) as error:
        raise errors.DataError(
            f"elpv: {error}: put labels.csv and images/cell0001.png to cell2624.png into {where}, "
            "or leave config.data.folder empty to have them fetched"
        ) from error
    return found


SHA256: Mapping[str, str] = {
    "images-idx3-ubyte": "f1560c019e82f34e05a9522e5afb64f887c8c025d0cd7c8c4cde373d57042f83",
    "labels.csv": "0abe6fe7700aea571717d7d7dfec005a47c6207b4cde26a4556b6807a115483d",
}

RECIPE = fetch.Recipe(
    "elpv",
    SHA256,
    (
        _packed(fetch.installed("elpv_dataset", _MEMBERS)),
        _packed(fetch.wheel("elpv-dataset==1.0.0.post1", _MEMBERS, limit=600.0)),
    ),
)
