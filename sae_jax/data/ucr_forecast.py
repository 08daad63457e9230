"""Time series of the UCR archives, as windows whose next points are to be predicted."""

import dataclasses

import numpy as np

from sae_jax import errors
from sae_jax.data import base, ucr, ucr_anomaly


def load(
    split: str,
    dataset: str = ucr_anomaly.DEFAULT,
    folder: str = "",
    length: int = 64,
    horizon: int = 16,
    stride: int = 1,
) -> base.Arrays:
    """Returns windows: `x` is `length` points, `y` these and the next `horizon`.

    A long series (of `sae_jax/data/ucr_anomaly.py`; 7,501 points of arterial pressure) is cut in
    time into "train", 60 %, "valid", 20 %, and "test"; it may hold its anomaly wherever that lies.
    A set of labelled series (of `sae_jax/data/ucr.py`) has its "train" and "test", and the windows
    their series' labels. No window reaches over a border. Each channel is standardised by mean and
    standard deviation over "train".

    Args:
      split: or rows of one.
      dataset: a set of ucr.py, or a series of ucr_anomaly.py: one with "_UCR_Anomaly_" in its name.
      folder: as there.
      length: points that are seen.
      horizon: points that are not, at least 1.
      stride: points between beginnings.
    """
    if horizon < 1 or length < 1:
        raise errors.DataError(f"length={length} and horizon={horizon} have to be at least 1")
    parts = _long(dataset, folder) if "_UCR_Anomaly_" in dataset else ucr.read(dataset, folder)
    train = parts["train"][0].astype(np.float64)
    mean, sd = train.mean((0, 1)), train.std((0, 1))
    whole: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for part, (series, label) in parts.items():
        series = ((series - mean) / np.where(sd > 0, sd, 1.0)).astype(np.float32)
        cut = np.stack([ucr.windows(one, length + horizon, stride) for one in series])
        label = None if label is None else np.repeat(label, cut.shape[1])
        whole[part] = (cut.reshape(-1, *cut.shape[2:]), label)
    channels = len(mean)
    data = base.from_splits(dataset, split, whole)
    spec = base.Spec(
        dataset, split, (length * channels,), (length, channels), ((length + horizon) * channels,)
    )
    return dataclasses.replace(data, spec=spec, x=data.x[:, : length * channels], y=data.x)


def _long(dataset: str, folder: str) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Returns one long series cut in time: each part `[1, time, 1]`, without a label."""
    x = ucr_anomaly.read(dataset, folder).x
    first, second = round(0.6 * len(x)), round(0.8 * len(x))
    return {
        "train": (x[None, :first], None),
        "valid": (x[None, first:second], None),
        "test": (x[None, second:], None),
    }
