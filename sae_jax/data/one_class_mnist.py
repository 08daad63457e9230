"""One digit of MNIST is normal, all others are anomalies (the protocol of Ruff et al. 2018).

They trained on all training images of the digit and scored all 10,000 test images. Here the last
10,000 training images are kept apart: the digit's own calibrate thresholds, and all of them serve
to choose hyper-parameters, so that no anomaly of the test images has a say in anything.
"""

import numpy as np

from sae_jax import errors, fetch
from sae_jax.data import base, mnist

_TRAIN = 50_000


def load(split: str, digit: int = 8, folder: str = "") -> base.Arrays:
    """Returns images of MNIST, label 1 for those that do not show the digit.

    "train" are those of the digit among the first 50,000 training images, about 5,000; "valid"
    those among the last 10,000; "tune" are all of the last 10,000, "test" all 10,000 test images.

    Args:
      split: or rows of one.
      digit: which is normal.
      folder: of MNIST's files, as in `mnist`.
    """
    if digit not in range(10):
        raise errors.DataError(f"digit={digit} is none: set it from 0 to 9")
    files = fetch.files(mnist.RECIPE, folder)
    train, test = (mnist.from_idx("one_class_mnist", part, files) for part in ("train", "test"))
    assert train.label is not None
    assert test.label is not None
    shown = train.label == digit
    late = np.arange(train.length) >= _TRAIN
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        name: (train.x[rows], train.label[rows] != digit)
        for name, rows in (("train", shown & ~late), ("valid", shown & late), ("tune", late))
    }
    splits["test"] = (test.x, test.label != digit)
    return base.from_splits("one_class_mnist", split, splits, test.spec.grid, test.scale)
