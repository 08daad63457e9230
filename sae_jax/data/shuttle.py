"""Shuttle: 49,097 readings of nine sensors of a space shuttle, 3,511 of them anomalies.

Statlog (Shuttle) of the UCI repository (CC BY 4.0), as the ODDS benchmark (Rayana 2016) made a
problem of anomalies of it: class 1 is normal, class 4 is left out, the others are anomalies. From
the package river (BSD 3-Clause).
"""

from collections.abc import Mapping
import io

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base

_MEMBERS = {"shuttle.csv": "river/datasets/shuttle.csv.gz"}
# Wheels of river are made for a machine; the data in them are not.
_ANY_MACHINE = (
    "--platform=manylinux_2_28_x86_64",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
)


def load(split: str, folder: str = "", fold: int = 0, clip: float = 5.0) -> base.Arrays:
    """Returns rows of nine numbers, label 1 for an anomaly; "train" and "valid" have normal rows.

    The 45,586 normal rows are split at random: 60 % are "train", 20 % "valid"; the other 20 % and
    all anomalies are "test", in the order of the file. Each column is standardised by mean and
    standard deviation over "train", where what lies outside the middle 99 % of its values is set to
    their ends: a few normal readings a hundred times as large as all others would otherwise decide
    the unit. A column that is constant there is only centred. Then what lies beyond `clip` standard
    deviations is set to that.

    Args:
      split: or rows of one.
      folder: with shuttle.csv or shuttle.csv.gz. Empty: the cache, or else it is fetched.
      fold: which random split, a seed.
      clip: standard deviations, above 0; infinity clips nothing.
    """
    if not clip > 0:
        raise errors.DataError(f"clip={clip} leaves nothing of shuttle: set it above 0")
    content = fetch.files(RECIPE, folder)["shuttle.csv"]
    table = np.loadtxt(io.BytesIO(content), np.float64, delimiter=",", skiprows=1)
    x, label = table[:, :-1], table[:, -1].astype(np.int32)
    normal, anomalies = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    normal = normal[base.shuffled(len(normal), fold)]
    n_train, n_valid = round(0.6 * len(normal)), round(0.2 * len(normal))
    parts = {
        "train": np.sort(normal[:n_train]),
        "valid": np.sort(normal[n_train : n_train + n_valid]),
        "test": np.sort(np.concatenate([normal[n_train + n_valid :], anomalies])),
    }
    train = x[parts["train"]]
    middle = np.clip(train, *np.percentile(train, (0.5, 99.5), axis=0))
    sd = middle.std(0)
    x = (x - middle.mean(0)) / np.where(sd > 0, sd, 1.0)
    x = np.clip(x, -clip, clip).astype(np.float32)
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        part: (x[rows], label[rows]) for part, rows in parts.items()
    }
    return base.from_splits("shuttle", split, splits)


SHA256: Mapping[str, str] = {
    "shuttle.csv": "8bee3239f80b6549cbf0bc69c07bdcad8bb33fb968329c0678328a8ca971784b"
}

RECIPE = fetch.Recipe(
    "shuttle",
    SHA256,
    (
        fetch.installed("river", _MEMBERS),
        fetch.wheel("river==0.26.1", _MEMBERS, _ANY_MACHINE),
    ),
)
