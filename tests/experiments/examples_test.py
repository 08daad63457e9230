"""Files of new examples: each mistake is one line that names the file, and the row where it is."""

import numpy as np
from PIL import Image
import pytest

from experiments.detection import examples
from sae_jax import errors
from sae_jax.data import base

RNG = np.random.RandomState(0)
PIXELS = base.Arrays(
    base.Spec("mnist", "train", (16,), (4, 4, 1)), RNG.randint(0, 256, (50, 16)).astype(np.uint8)
)
TABLE = base.Arrays(base.Spec("shuttle", "train", (3,)), RNG.randn(50, 3).astype(np.float32))
SERIES = base.Arrays(base.Spec("s", "train", (6,), (3, 2)), RNG.randn(50, 6).astype(np.float32))


def _saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize("shape", [(7, 16), (7, 4, 4), (7, 4, 4, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_pictures_come_flat_or_not_as_integers_or_floats(tmp_path, shape, dtype):
    pixels = RNG.randint(0, 256, shape)
    x = pixels / 255 if dtype is np.float32 else pixels
    data = examples.load(_saved(tmp_path / "new.npy", x.astype(dtype)), PIXELS)
    batch = data.decode(data.rows(np.arange(7)))
    np.testing.assert_allclose(batch.x, pixels.reshape(7, 16) / 255, rtol=1e-6)
    assert data.spec.image_shape == (4, 4, 1)


def test_series_of_several_channels_need_all_of_them(tmp_path):
    assert examples.load(_saved(tmp_path / "a.npy", np.zeros((5, 3, 2))), SERIES).length == 5
    with pytest.raises(errors.DataError, match=r"\[5, 3\]: the run takes \[n, 6\] or \[n, 3, 2\]"):
        examples.load(_saved(tmp_path / "b.npy", np.zeros((5, 3))), SERIES)


def test_an_archive_may_hold_labels(tmp_path):
    np.savez(tmp_path / "new.npz", x=np.zeros((3, 3)), label=np.asarray([0, 1, 1]))
    data = examples.load(tmp_path / "new.npz", TABLE)
    assert examples.anomalous("label", data.label, 3).tolist() == [False, True, True]


def test_a_folder_of_pictures_is_read_in_the_order_of_its_names(tmp_path):
    for name, grey in (("b", 7), ("a", 200), ("c", 0)):
        Image.new("L", (4, 4), grey).save(tmp_path / f"{name}.png")
    data = examples.load(tmp_path, PIXELS)
    assert data.x[:, 0].tolist() == [200, 7, 0]
    assert examples.names(tmp_path) == ["a.png", "b.png", "c.png"]
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(errors.DataError, match=r"d\.png cannot be read"):
        examples.load(tmp_path, PIXELS)
    Image.new("L", (5, 4)).save(tmp_path / "d.png")
    with pytest.raises(errors.DataError, match=r"d\.png has 4 x 5 pixels, .* 4 x 4"):
        examples.load(tmp_path, PIXELS)


def _with(array, row, value):
    array[row, 1] = value
    return array


@pytest.mark.parametrize(
    ("like", "x", "message"),
    [
        (PIXELS, np.zeros((3, 15)), r"\[3, 15\]: the run takes \[n, 16\] or \[n, 4, 4\] or"),
        (PIXELS, np.zeros((4, 4)), r"has shape \[4, 4\]"),
        (PIXELS, np.zeros(()), r"has shape \[\]"),
        (PIXELS, np.zeros((0, 16)), "there is no example in it"),
        (PIXELS, _with(np.zeros((9, 16)), 5, np.nan), "example 5, number 1 is nan"),
        (PIXELS, _with(np.zeros((9, 16)), 5, np.inf), "example 5, number 1 is inf"),
        (PIXELS, _with(np.zeros((9, 16)), 4, 200.0), "row 4, number 1 is 200: .* from 0 to 1"),
        (PIXELS, _with(np.zeros((9, 16), int), 4, 60000), "row 4, number 1 is 60000: .* to 255"),
        (PIXELS, _with(np.zeros((9, 16), int), 4, 1), "no integer above 1"),
        (PIXELS, np.full((9, 16), "a"), "has type <U1"),
        (TABLE, np.zeros((9, 3), int), "holds integers .int64., the run's data floats"),
    ],
)
def test_what_is_not_like_the_run_is_named(tmp_path, like, x, message):
    path = _saved(tmp_path / "new.npy", x)
    with pytest.raises(errors.DataError, match=message) as error:
        examples.load(path, like)
    assert "new.npy" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_reading_may_be_as_strange_as_it_likes(tmp_path):
    x = _with(np.zeros((9, 3)), 4, 1e6)
    assert examples.load(_saved(tmp_path / "new.npy", x), TABLE).length == 9


@pytest.mark.parametrize("name", ["none.npy", "text.csv", "empty.npy", "half.npy", "half.npz"])
def test_files_that_cannot_be_read_are_named(tmp_path, name):
    whole = _saved(tmp_path / "whole.npy", np.zeros((9, 3))).read_bytes()
    np.savez(tmp_path / "whole.npz", x=np.zeros((9, 3)))
    contents = {
        "text.csv": b"1,2,3\n",
        "empty.npy": b"",
        "half.npy": whole[:-50],
        "half.npz": (tmp_path / "whole.npz").read_bytes()[:-50],
    }
    if name in contents:
        (tmp_path / name).write_bytes(contents[name])
    with pytest.raises(errors.DataError, match=name) as error:
        examples.load(tmp_path / name, TABLE)
    assert "\n" not in str(error.value)


def test_a_folder_without_pictures_or_for_a_run_without_pictures_is_refused(tmp_path):
    with pytest.raises(errors.DataError, match=r"holds no \.png"):
        examples.load(tmp_path, PIXELS)
    with pytest.raises(errors.DataError, match="shuttle has no grey or RGB pictures"):
        examples.load(tmp_path, TABLE)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1], "has shape .2,."),
        ([0, 1, 2], r"row 2 is 2: write 0 \(normal\) and 1 \(anomaly\)"),
        ([0.0, 1.0, np.nan], "row 2 is nan"),
        ([1, 1, 1], "has only the label 1"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path, label, message):
    path = _saved(tmp_path / "label.npy", np.asarray(label))
    with pytest.raises(errors.DataError, match=message) as error:
        examples.labels(path, 3)
    assert "label.npy" in str(error.value)
    with pytest.raises(errors.DataError, match=r"none\.npy"):
        examples.labels(tmp_path / "none.npy", 3)
