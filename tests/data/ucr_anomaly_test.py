"""Windows of a series with one anomaly."""

import dataclasses
import hashlib
import pathlib

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import ucr_anomaly

POINTS, MARK, BEGIN, END = 60, 30, 41, 44
NAME = f"7_UCR_Anomaly_toy_{MARK}_{BEGIN}_{END}"


def series() -> np.ndarray:
    return np.random.default_rng(0).normal(50, 9, POINTS).round(3)


def table(points: int) -> bytes:
    rows = [f"{i},{x},{int(BEGIN <= i < END)}" for i, x in enumerate(series()[:points])]
    return "\n".join(["timestamp,value,is_anomaly", *rows]).encode()


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    default = ucr_anomaly.DEFAULT
    files = {f"{default}_TRAIN.csv": table(MARK), f"{default}_TEST.csv": table(POINTS)}
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    recipe = dataclasses.replace(ucr_anomaly.RECIPE, sha256=sha256, routes=())
    monkeypatch.setattr(ucr_anomaly, "RECIPE", recipe)
    files[f"{NAME}.txt"] = "\n".join(map(str, series())).encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return str(tmp_path)


@pytest.mark.parametrize("dataset", [ucr_anomaly.DEFAULT, NAME])
def test_windows_lie_before_and_behind_the_mark(dataset: str, folder: str) -> None:
    x = series()
    # A fifth of 30 points is for selection, so 24 decide the units.
    z = (x - x[:24].mean()) / x[:24].std()
    for split, start, end in (("train", 0, 24), ("valid", 24, 30), ("test", 30, 60)):
        data = ucr_anomaly.load(split, dataset, folder, length=5)
        assert data.spec.grid == (5, 1)
        starts = np.arange(start, end - 4)
        expected = z[starts[:, None] + np.arange(5)]
        np.testing.assert_allclose(data.x, expected, rtol=1e-5, atol=1e-6)
        assert data.label is not None
        hit = (starts < END) & (starts + 5 > BEGIN)
        np.testing.assert_array_equal(data.label, hit)
        assert data.label.sum() == (7 if split == "test" else 0)


def test_stride_and_share(folder: str) -> None:
    data = ucr_anomaly.load("train", NAME, folder, length=5, stride=5, valid=0.5)
    x = series()
    z = (x - x[:15].mean()) / x[:15].std()
    np.testing.assert_allclose(data.x, z[:15].reshape(3, 5), rtol=1e-5, atol=1e-6)
    with pytest.raises(errors.DataError, match="valid=0"):
        ucr_anomaly.load("train", NAME, folder, valid=0)
    with pytest.raises(errors.DataError, match="no window of 7 fits 6 points"):
        ucr_anomaly.load("train", NAME, folder, length=7)


def test_constant_channel_is_only_centred() -> None:
    x = np.stack([np.arange(4.0), np.array([3.0, 3, 3, 5])], 1)
    z = ucr_anomaly.standardised(x, 3)
    np.testing.assert_allclose(z[:, 0], (np.arange(4) - 1) / np.sqrt(2 / 3), rtol=1e-6)
    assert z[:, 1].tolist() == [0, 0, 0, 2]


def test_series_that_cannot_be_had_says_why(folder: str) -> None:
    with pytest.raises(errors.DataError, match="only the series.*135_UCR.*1_UCR.txt"):
        ucr_anomaly.load("train", "1_UCR")
    with pytest.raises(errors.DataError, match=r"no 1_UCR\.txt"):
        ucr_anomaly.load("train", "1_UCR", folder)
    for name, content, complaint in (
        ("a_30_41", b"1", "does not end in mark"),
        ("a_30_41_70", b"1 2 3", "3 points.*41 to 70"),
        ("a_3_2_3", b"1 2 3", "3 normal ones"),
        ("a_1_1_2", b"1 x 3", "only numbers"),
    ):
        with pytest.raises(errors.DataError, match=complaint):
            ucr_anomaly.from_txt(name, content)


@pytest.mark.network
def test_downloaded_series(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    recipe = dataclasses.replace(ucr_anomaly.RECIPE, routes=ucr_anomaly.RECIPE.routes[-1:])
    monkeypatch.setattr(ucr_anomaly, "RECIPE", recipe)
    found = ucr_anomaly.read(ucr_anomaly.DEFAULT)
    assert found.x.shape == (7501, 1)
    assert np.flatnonzero(found.anomaly).tolist() == list(range(4187, 4199))
    assert found.mark == 1200
    data = ucr_anomaly.load("test")
    assert data.label is not None
    assert (data.length, data.label.sum()) == (6238, 75)
    assert fetch.cache_folder("ucr/anomaly_135").is_dir()
