"""Digits: 1,797 handwritten digits of 8 x 8 pixels from 0 to 16 (Alpaydin & Kaynak 1998)."""

from collections.abc import Mapping, Sequence
import io

import numpy as np

from sae_jax import fetch
from sae_jax.data import base

_MEMBERS = {"digits.csv": "sklearn/datasets/data/digits.csv.gz"}
_TRAIN = 1500


def load(split: str, folder: str = "", classes: Sequence[int] = ()) -> base.Arrays:
    """Returns the digits: "train" is the first 1,500 in file order, "test" the last 297.

    The set comes without an official split; this one is ours.

    Args:
      split: such as "train[:1000]".
      folder: with digits.csv.gz or digits.csv. Empty: the cache, or else it is fetched.
      classes: digits to keep, after the split was cut. Empty: all.
    """
    data = from_csv(split, fetch.files(RECIPE, folder)["digits.csv"])
    return base.of_classes(data, classes)


def from_csv(split: str, content: bytes) -> base.Arrays:
    """Returns `split` of a table whose rows are 64 pixels and the label."""
    table = np.loadtxt(io.BytesIO(content), np.uint8, delimiter=",")
    x, label = table[:, :-1], table[:, -1]
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "train": (x[:_TRAIN], label[:_TRAIN]),
        "test": (x[_TRAIN:], label[_TRAIN:]),
    }
    return base.from_splits("digits", split, splits, (8, 8, 1), scale=16.0)


SHA256: Mapping[str, str] = {
    "digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
}

RECIPE = fetch.Recipe(
    "digits",
    SHA256,
    (
        fetch.installed("sklearn", _MEMBERS),
        fetch.wheel("scikit-learn", _MEMBERS),
    ),
)
