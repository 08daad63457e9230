"""Arrays of the user's own."""

import pathlib

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import folder

X = np.arange(24, dtype=np.uint8).reshape(4, 6)
LABEL = np.array([3, 1, 2, 0])


def test_npy_is_mapped_not_read(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "train.npy", X)
    np.save(tmp_path / "train_label.npy", LABEL)
    data = folder.load("train[1:]", str(tmp_path), scale=23)
    base = data.x
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    np.testing.assert_array_equal(data.x, X[1:])
    assert data.label is not None
    assert data.label.tolist() == [1, 2, 0]
    assert data.label.dtype == np.int32
    assert data.scale == 23
    assert data.spec.image_shape is None


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((4, 6), None), ((4, 2, 3), (2, 3, 1)), ((4, 1, 2, 3), (1, 2, 3))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, np.bool_])
def test_pictures_and_types(
    shape: tuple[int, ...], image_shape: object, dtype: type, tmp_path: pathlib.Path
) -> None:
    np.save(tmp_path / "train.npy", X.reshape(shape).astype(dtype))
    data = folder.load("train", str(tmp_path))
    assert data.spec.image_shape == image_shape
    np.testing.assert_array_equal(data.x, X.astype(dtype))


def test_npz_holds_both(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "both.npz", x=X, label=LABEL)
    np.savez_compressed(tmp_path / "one.npz", features=X)
    both, one = folder.load("both", str(tmp_path)), folder.load("one", str(tmp_path))
    assert both.label is not None
    assert both.label.tolist() == LABEL.tolist()
    assert one.label is None
    np.testing.assert_array_equal(one.x, X)


def test_files_that_are_not_there_are_told(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "train.npy", X)
    with pytest.raises(errors.DataError, match=r"no test\.npy and no test\.npz .there: train\.npy"):
        folder.load("test", str(tmp_path))
    with pytest.raises(errors.DataError, match="there is no folder"):
        folder.load("train", str(tmp_path / "absent"))
    with pytest.raises(errors.DataError, match="needs --config.data.folder"):
        folder.load("train", "")


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.array([["a", "b"]]), "has type <U1"),
        (X.astype(np.complex64), "has type complex64"),
        (X[0], r"has shape \(6,\)"),
        (X.reshape(1, 2, 2, 2, 3), r"has shape \(1, 2, 2, 2, 3\)"),
        (X[:0], r"has shape \(0, 6\)"),
        (np.array(1.0), r"has shape \(\)"),
        (np.array([[1, None]], object), "Python objects"),
        (np.array([[0, 1], [0, np.nan]]), "example 1, number 1 is nan"),
        (np.array([[0, np.inf]]), "example 0, number 1 is inf"),
    ],
)
def test_arrays_that_cannot_be_examples_are_told(
    x: np.ndarray, text: str, tmp_path: pathlib.Path
) -> None:
    np.save(tmp_path / "train.npy", x, allow_pickle=True)
    with pytest.raises(errors.DataError, match=text) as caught:
        folder.load("train", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "train.npy" in str(caught.value)


@pytest.mark.parametrize("left", [0, 5, 60, 140])
@pytest.mark.parametrize("name", ["train.npy", "train.npz"])
def test_truncated_files_are_told(left: int, name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, X)
    else:
        np.savez(path, x=X)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(errors.DataError, match=name) as caught:
        folder.load("train", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_npz_that_cannot_be_used_is_told(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "train.npz", a=X, b=X)
    with pytest.raises(errors.DataError, match=r'no array "x" .there: a, b'):
        folder.load("train", str(tmp_path))
    np.savez(tmp_path / "objects.npz", x=np.array([[1, None]], object))
    with pytest.raises(errors.DataError, match="Python objects"):
        folder.load("objects", str(tmp_path))


@pytest.mark.parametrize("label", [LABEL[:3], LABEL.astype(float), LABEL.reshape(2, 2)])
def test_labels_that_do_not_fit_are_told(label: np.ndarray, tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "train.npy", X)
    np.save(tmp_path / "train_label.npy", label)
    with pytest.raises(errors.DataError, match="the labels of .*train.npy"):
        folder.load("train", str(tmp_path))
