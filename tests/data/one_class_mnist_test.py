import dataclasses
import hashlib
import pathlib

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import mnist, one_class_mnist

# Of each image, the first pixel is its place and the label the place modulo 10.
N = {"train": 40, "t10k": 20}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    files = {}
    for prefix, n in N.items():
        x = np.zeros((n, 784), np.uint8)
        x[:, 0] = np.arange(n)
        files |= mnist.to_idx(prefix, x, np.arange(n) % 10)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist, "RECIPE", dataclasses.replace(mnist.RECIPE, sha256=sha256))
    monkeypatch.setattr(one_class_mnist, "_TRAIN", 30)
    return str(tmp_path)


def test_only_the_digit_is_trained_on_and_no_image_is_in_two_parts(folder: str) -> None:
    parts = {p: one_class_mnist.load(p, 3, folder) for p in ("train", "valid", "tune", "test")}
    assert parts["train"].x[:, 0].tolist() == [3, 13, 23]
    assert parts["valid"].x[:, 0].tolist() == [33]
    assert parts["tune"].x[:, 0].tolist() == list(range(30, 40))
    assert parts["test"].x[:, 0].tolist() == list(range(20))
    assert parts["train"].label is not None
    assert not parts["train"].label.any()
    for part in ("tune", "test"):
        label = parts[part].label
        assert label is not None
        assert (label == (np.arange(len(label)) % 10 != 3)).all()
    assert one_class_mnist.load("tune[2:5]", 3, folder).length == 3
    assert parts["test"].spec.image_shape == (28, 28, 1)
    assert parts["test"].scale == 255


def test_what_is_no_digit_is_refused(folder: str) -> None:
    with pytest.raises(errors.DataError, match="digit=10"):
        one_class_mnist.load("train", 10, folder)
