"""A series of the UCR anomaly archive, as windows: learn what is normal, find the one that is not.

The archive (Wu & Keogh 2021) marks in each series where the anomaly-free part ends and where its
one anomaly lies. The package aeon (BSD 3-Clause) carries series 135, arterial pressure with a beat
changed; any other one of the archive can be read from a folder.
"""

from collections.abc import Mapping
import dataclasses
import io
import re

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base, ucr

DEFAULT = "135_UCR_Anomaly_InternalBleeding16"


@dataclasses.dataclass(frozen=True)
class Series:
    """One series.

    Attributes:
      x: float64 `[time, 1]`.
      anomaly: bool `[time]`.
      mark: points before it are free of anomalies.
    """

    x: np.ndarray
    anomaly: np.ndarray
    mark: int


def load(
    split: str,
    dataset: str = DEFAULT,
    folder: str = "",
    length: int = 64,
    stride: int = 1,
    valid: float = 0.2,
) -> base.Arrays:
    """Returns windows of a series, label 1 for those that overlap the anomaly.

    "train" are the windows within the first `1 - valid` of the anomaly-free part, "valid" those
    within the rest of it, "test" those behind the mark; none reaches over a border. With a stride
    of 1, window `i` of "test" begins `i` points behind the mark. The series is standardised by mean
    and standard deviation of the points of "train".

    Args:
      split: or rows of one.
      dataset: name of the series, its file's without the ending.
      folder: with <dataset>.txt, whose name ends in mark, begin and end of the anomaly, as in the
        archive: "..._1200_4187_4199.txt"; of the default instead <dataset>_TRAIN.csv and
        <dataset>_TEST.csv. Empty: the default series, from the cache or fetched.
      length: points of a window.
      stride: points between beginnings.
      valid: share of the anomaly-free part that is for model selection.
    """
    if not 0 < valid < 1:
        raise errors.DataError(f"valid={valid} is no share: set it above 0 and below 1")
    series = read(dataset, folder)
    border = series.mark - round(valid * series.mark)
    x = standardised(series.x, border)
    ends = {"train": (0, border), "valid": (border, series.mark), "test": (series.mark, len(x))}
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for part, (start, end) in ends.items():
        hit: np.ndarray = ucr.windows(series.anomaly[start:end, None], length, stride)
        splits[part] = (ucr.windows(x[start:end], length, stride), hit.max((1, 2)))
    return base.from_splits(dataset, split, splits, (length, 1))


def read(dataset: str, folder: str = "") -> Series:
    """Returns a series: of a folder, or the default one."""
    if dataset == DEFAULT:
        return from_csv(fetch.files(RECIPE, folder))
    if not folder:
        raise errors.DataError(
            f'only the series "{DEFAULT}" can be fetched: for "{dataset}" set --config.data.folder '
            f"to a folder with {dataset}.txt"
        )
    name = f"{dataset}.txt"
    return from_txt(dataset, ucr.unchecked(folder, [name])[name])


def from_txt(dataset: str, content: bytes) -> Series:
    """Returns the series of a file of the archive, whose name says where its parts lie.

    Points are counted from 0 and the end is the first behind the anomaly, as in the default series.
    """
    match = re.search(r"_(\d+)_(\d+)_(\d+)$", dataset)
    if match is None:
        raise errors.DataError(
            f'the name "{dataset}" does not end in mark, begin and end of the anomaly, such as '
            '"_1200_4187_4199": name the file as the archive does'
        )
    mark, begin, end = map(int, match.groups())
    try:
        x = np.array(content.split(), np.float64)
    except ValueError as error:
        raise errors.DataError(f"{dataset}.txt: {error}: only numbers belong there") from error
    if not 0 < mark <= begin < end <= len(x):
        raise errors.DataError(
            f'"{dataset}" has {len(x)} points, but by its name {mark} normal ones and an anomaly '
            f"from {begin} to {end}: name the file as the archive does"
        )
    place = np.arange(len(x))
    return Series(x[:, None], (place >= begin) & (place < end), mark)


def from_csv(files: fetch.Files) -> Series:
    """Returns the series of two files of time, value and anomaly: its normal begin, and all."""
    train, whole = (
        np.loadtxt(io.BytesIO(files[f"{DEFAULT}_{part}.csv"]), delimiter=",", skiprows=1)
        for part in ("TRAIN", "TEST")
    )
    return Series(whole[:, 1:2], whole[:, 2] > 0, len(train))


def standardised(x: np.ndarray, count: int) -> np.ndarray:
    """Returns float32 `[..., time, channels]`: each channel less its mean, by its sd, over a part.

    Args:
      x: `[time, channels]`.
      count: of the first points, over which mean and standard deviation are taken; a channel that
        is constant there is only centred.
    """
    part = x[:count]
    sd = part.std(0)
    return ((x - part.mean(0)) / np.where(sd > 0, sd, 1.0)).astype(np.float32)


SHA256: Mapping[str, str] = {
    f"{DEFAULT}_TRAIN.csv": "a531b6f4f556b17c0321d144c3f6b4a7bdf5e8464b2218566181702e77962c2b",
    f"{DEFAULT}_TEST.csv": "fe26577b94896943e8205d04d56bf2511fe05c008df535a1ec3826adff3597e2",
}

RECIPE = fetch.Recipe(
    "ucr/anomaly_135",
    SHA256,
    ucr.routes({name: f"aeon/datasets/data/KDD-TSAD_135/{name}" for name in SHA256}),
)
