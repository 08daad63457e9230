"""Labelled time series of the UCR and UEA archives (Dau et al. 2019; Bagnall et al. 2018).

Eight sets come in the package aeon (BSD 3-Clause); of any other set the two .ts files can be read
from a folder (timeseriesclassification.com has them).
"""

from collections.abc import Mapping, Sequence
import pathlib
import zlib

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base


def load(split: str, dataset: str = "GunPoint", folder: str = "") -> base.Arrays:
    """Returns the official "train" or "test" split, or rows of it, with the numbers of the files.

    | set | train | test | length | channels | classes |
    |---|---|---|---|---|---|
    | ACSF1: power of household appliances | 100 | 100 | 1460 | 1 | 10 |
    | ArrowHead: outlines | 36 | 175 | 251 | 1 | 3 |
    | BasicMotions: a smart watch, in its own units | 40 | 40 | 100 | 6 | 4 |
    | GunPoint: a hand that draws or points | 50 | 150 | 150 | 1 | 2 |
    | ItalyPowerDemand: days | 67 | 1029 | 24 | 1 | 2 |
    | JapaneseVowels_eq: speakers | 270 | 370 | 25 | 12 | 9 |
    | OSULeaf: outlines | 200 | 242 | 427 | 1 | 6 |
    | PickupGestureWiimoteZ_eq | 50 | 50 | 361 | 1 | 10 |

    Most sets of one channel have each series at mean 0 and standard deviation 1. `_eq` are sets
    whose series were brought to one length. An example is `[length, channels]`, flattened; a label
    is the number of the class in the order of the names, of numbers if they are numbers.

    Args:
      split: or rows of one.
      dataset: which set.
      folder: with <dataset>_TRAIN.ts and <dataset>_TEST.ts. Empty: the cache, or they are fetched.
    """
    parts = read(dataset, folder)
    splits = {part: (x.reshape(len(x), -1), label) for part, (x, label) in parts.items()}
    return base.from_splits(dataset, split, splits, parts["train"][0].shape[1:])


def read(dataset: str, folder: str = "") -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Returns "train" and "test": float32 `[n, length, channels]` and int64 `[n]`."""
    names = {part: f"{dataset}_{part.upper()}.ts" for part in ("train", "test")}
    files = _unknown(dataset, names, folder) or fetch.files(recipe(dataset), folder)
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        part: from_ts(name, files[name]) for part, name in names.items()
    }
    train, test = parts["train"][0], parts["test"][0]
    if train.shape[1:] != test.shape[1:]:
        raise errors.DataError(
            f"{dataset} has series of {train.shape[1:]} numbers to train on and of "
            f"{test.shape[1:]} to test on: bring them to one length"
        )
    return parts


def from_ts(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns the series, float32 `[n, length, channels]`, and the labels, int64 `[n]`, of a file.

    A line of data is `a1,a2,...:b1,b2,...:class`, one list of numbers a channel.
    """
    head, found, body = content.decode().replace("@DATA", "@data").partition("@data")
    tags = [line.split() for line in head.splitlines() if line.lower().startswith("@classlabel")]
    rows = [line.strip().split(":") for line in body.splitlines() if line.strip()]
    if not found or not rows or not tags or tags[0][1].lower() != "true":
        raise errors.DataError(f"{name} is no .ts file of labelled series")
    lengths = {(len(row), channel.count(",")) for row in rows for channel in row[:-1]}
    if len(lengths) > 1:
        raise errors.DataError(f"the series of {name} differ in length: bring them to one length")
    try:
        x = [[np.array(channel.split(","), np.float32) for channel in row[:-1]] for row in rows]
    except ValueError as error:
        raise errors.DataError(
            f"{name}: {error}: series are numbers without gaps and times"
        ) from error
    classes = sorted(tags[0][2:], key=_class_order)
    unknown = {row[-1] for row in rows} - set(classes)
    if unknown:
        raise errors.DataError(f"{name} has the class {min(unknown)}, which its head does not name")
    label = np.array([classes.index(row[-1]) for row in rows])
    return np.ascontiguousarray(np.moveaxis(np.array(x), 1, 2)), label


def windows(series: np.ndarray, length: int, stride: int = 1) -> np.ndarray:
    """Returns `[n, length, channels]`: what a window sees that moves over `[time, channels]`.

    Window `i` begins at `i * stride`; there is none that ends beyond the series.
    """
    if not (0 < length <= len(series) and stride > 0):
        raise errors.DataError(
            f"no window of {length} fits {len(series)} points at a stride of {stride}"
        )
    view = np.lib.stride_tricks.sliding_window_view(series, length, 0)[::stride]
    return np.ascontiguousarray(np.moveaxis(view, 1, 2))


def _class_order(name: str) -> tuple[float, str]:
    """Returns what puts names of classes in order: numbers by value, then words."""
    try:
        return float(name), name
    except ValueError:
        return np.inf, name


def _unknown(dataset: str, names: Mapping[str, str], folder: str) -> fetch.Files:
    """Returns the files of a set that is not listed here, whose content nobody checks, or {}."""
    if dataset in SHA256:
        return {}
    if not folder:
        raise errors.DataError(
            f'"{dataset}" is not among {", ".join(SHA256)}: name one of them, or set '
            f"--config.data.folder to a folder with {' and '.join(names.values())}"
        )
    return unchecked(folder, tuple(names.values()))


def unchecked(folder: str, names: Sequence[str]) -> fetch.Files:
    """Returns files of a folder of which nobody knows what they should hold."""
    files = {}
    for name in names:
        path = fetch.find(pathlib.Path(folder).expanduser(), name)
        if path is None:
            raise errors.DataError(f"there is no {name} in {folder}: set --config.data.folder")
        try:
            files[name] = fetch.read(path)
        except (OSError, EOFError, zlib.error) as error:
            raise errors.DataError(f"{path} cannot be read: {error}") from error
    return files


def recipe(dataset: str) -> fetch.Recipe:
    """Returns where a listed set is to be had."""
    digests = zip(("TRAIN", "TEST"), SHA256[dataset], strict=True)
    sha256 = {f"{dataset}_{part}.ts": digest for part, digest in digests}
    folder = dataset.removesuffix("_eq")
    members = {name: f"aeon/datasets/data/{folder}/{name}" for name in sha256}
    return fetch.Recipe(f"ucr/{dataset}", sha256, routes(members))


def routes(members: Mapping[str, str]) -> tuple[fetch.Route, ...]:
    """Returns the routes to files of the package aeon: paths in it, by canonical name."""
    return fetch.installed("aeon", members), fetch.wheel("aeon==1.6.0", members)


SHA256: Mapping[str, tuple[str, str]] = {
    "ACSF1": (
        "0646b90dc4843e02baed6b2ba345c5601a4991b6796565489cef1b2d92a7537b",
        "93e8aaeb44a10af181d24a156e60da7021193cd990ca28f263fccf3b905bfebf",
    ),
    "ArrowHead": (
        "a83c470aaf611a5f5284377cce27a5fc9f6292bc3d110257b0fd4905ced5ee72",
        "5417dab42626d41df5e435bb22458c2df40dfad4bcd3b59559bbe72e20e84904",
    ),
    "BasicMotions": (
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    "GunPoint": (
        "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
        "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
    ),
    "ItalyPowerDemand": (
        "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
        "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
    ),
    "JapaneseVowels_eq": (
        "8958279c6296b97c8e34038346407935222db171492b84dffa3b930d087bc2d6",
        "bb83bb1aa6bfb17faae269f6829b7cac71de36fdd3264ee34137fe90270d5895",
    ),
    "OSULeaf": (
        "86b9d6e860414ffd26cebc62fff84ffb37fa588ef3e5bf79e4094a437c36ddfc",
        "6c549dd354f9e42d5985fa5fab75321ca9acefc7873457e71467fc8a31f107ce",
    ),
    "PickupGestureWiimoteZ_eq": (
        "b4963f9491f3c5db60ee20a11fedaab5badc476c5086e7592014b64dcf46571b",
        "982ae7fe7613cf7f4e8e5e7e06b014ae12c6efdc3d59f08abb28f78068b7a66c",
    ),
}
