"""Films of digits: the same wherever they are made, and by the rule that is stated."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import mnist, moving_digits

N = {"train": 30, "t10k": 9}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MNIST of squares, each of one brightness that tells it from all others."""
    files = {}
    for prefix, first in (("train", 10), ("t10k", 200)):
        value = np.arange(first, first + N[prefix])
        files |= mnist.to_idx(prefix, np.repeat(value[:, None], 784, 1), value % 10)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    recipe = dataclasses.replace(mnist.RECIPE, sha256=sha256, routes=())
    monkeypatch.setattr(mnist, "RECIPE", recipe)
    monkeypatch.setattr(
        moving_digits,
        "SPLITS",
        {"train": "train[:20]", "valid": "train[20:]", "test": "test"},
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return str(tmp_path)


def whole(split: str, folder: str, **kwargs: Any) -> np.ndarray:
    """The films of a split, `[n, frames, size, size]`."""
    data = moving_digits.load(split, folder, **kwargs)
    assert data.spec.grid is not None
    y = data.x if data.y is None else data.y
    size = data.spec.grid[1]
    return y.reshape(len(y), -1, size, size)


def test_input_is_the_beginning_of_the_target(folder: str) -> None:
    data = moving_digits.load("train", folder, count=6, frames=3, future=2, size=20)
    assert data.spec.grid == (3, 20, 20, 1)
    assert data.spec.shape == (1200,)
    assert data.spec.target_shape == (2000,)
    assert data.scale == 255
    assert data.label is None
    assert data.y is not None
    assert data.x.dtype == data.y.dtype == np.uint8
    np.testing.assert_array_equal(data.x, data.y[:, :1200])
    alone = moving_digits.load("train", folder, count=6, frames=3, future=0, size=20)
    assert alone.y is None
    assert alone.spec.target_shape is None
    np.testing.assert_array_equal(alone.x, data.x)


def test_film_depends_on_seed_split_and_number_only(folder: str) -> None:
    small: dict[str, Any] = dict(frames=2, future=1, size=18)
    films = whole("train", folder, count=600, **small)
    np.testing.assert_array_equal(films[:5], whole("train", folder, count=5, **small))
    np.testing.assert_array_equal(
        films[290:310], whole("train[290:310]", folder, count=600, **small)
    )
    assert len({film.tobytes() for film in films}) > 590
    assert (films[:5] != whole("train", folder, count=5, seed=1, **small)).any()
    # Not only other digits: they move otherwise too.
    assert ((films[:5] > 0) != (whole("valid", folder, count=5, **small) > 0)).any()


def test_each_split_shows_digits_of_its_own(folder: str) -> None:
    for split, values in (("train", (10, 30)), ("valid", (30, 40)), ("test", (200, 209))):
        films = whole(split, folder, count=300, frames=1, future=0, size=20)
        assert set(np.unique(films)) == {0, *range(*values)}


def test_one_digit_is_labelled(folder: str) -> None:
    data = moving_digits.load("test", folder, count=50, frames=2, future=1, size=20, digits=1)
    assert data.label is not None
    np.testing.assert_array_equal(data.label, data.x.max(1) % 10)


def test_digit_moves_straight_and_is_reflected() -> None:
    film = moving_digits.Film(frames=40, size=128, digits=1, digit=28, speed=0.07)
    which, corner = moving_digits.paths(film, 1000, key=5, start=0, count=500)
    assert which.shape == (500, 1)
    assert which.min() >= 0
    assert which.max() < 1000
    assert abs(which.mean() - 500) < 60
    assert corner.min() == 0
    assert corner.max() == 100
    # From the first random numbers on: what one would do frame by frame.
    words = np.random.Philox(key=5).random_raw(2000).reshape(500, 4)
    for i in range(500):
        _, turn, *place = (words[i] >> np.uint64(11)) / 2**53
        velocity = [0.07 * np.sin(2 * np.pi * turn), 0.07 * np.cos(2 * np.pi * turn)]
        for axis in range(2):
            p, v = place[axis], velocity[axis]
            for t in range(40):
                assert abs(100 * p - corner[i, 0, axis, t]) < 0.5 + 1e-6
                p += v
                if p < 0 or p > 1:
                    p, v = (-p if p < 0 else 2 - p), -v


def test_brighter_pixel_is_seen_where_digits_meet() -> None:
    film = moving_digits.Film(frames=3, size=16, digits=2, digit=14, speed=0.1)
    shapes = np.random.default_rng(0).integers(1, 256, (5, 14, 14), np.uint8)
    got, which = moving_digits.films(film, shapes, key=1, start=0, count=300)
    _, corner = moving_digits.paths(film, 5, key=1, start=0, count=300)
    for i in range(300):
        for t in range(3):
            canvas = np.zeros((2, 16, 16), np.uint8)
            for d in range(2):
                row, column = corner[i, d, :, t]
                canvas[d, row : row + 14, column : column + 14] = shapes[which[i, d]]
            np.testing.assert_array_equal(got[i, t], canvas.max(0))


def test_digits_are_averaged_over_squares() -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 784), np.uint8)
    means = x.reshape(3, 14, 2, 14, 2).mean((2, 4))
    np.testing.assert_array_equal(moving_digits.averaged(x, 14), np.floor(means + 0.5))
    np.testing.assert_array_equal(moving_digits.averaged(x, 28), x.reshape(3, 28, 28))


@pytest.mark.parametrize(
    ("kwargs", "complaint"),
    [
        (dict(digit=10), "digit=10 does not divide 28"),
        (dict(size=13), "does not fit size=13"),
        (dict(digits=0), "of 0 digits"),
        (dict(speed=2.0), "speed 2.0"),
        (dict(frames=0), "frames=0"),
        (dict(future=-1), "future=-1"),
        (dict(count=0), "count=0"),
        (dict(seed=-1), "seed=-1"),
        (dict(split="dev"), 'no split "dev"'),
        (dict(split="train[9:]", count=9), "is empty"),
    ],
)
def test_what_cannot_be_filmed_is_told(kwargs: dict[str, Any], complaint: str, folder: str) -> None:
    with pytest.raises(errors.DataError, match=complaint):
        moving_digits.load(**{"split": "train", "folder": folder, **kwargs})


@pytest.mark.network
def test_films_of_real_digits(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    data = moving_digits.load("test[:1000]")
    assert data.y is not None
    assert data.y.shape == (1000, 20 * 32 * 32)
    # Two digits, a fifth of whose 196 pixels are bright on average, on 1,024 pixels.
    assert 0.03 < data.y.mean() / 255 < 0.06
