"""Windows whose next points are to be predicted."""

import pathlib

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import ucr_forecast

LONG = "1_UCR_Anomaly_toy_10_20_22"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 5, 50)
    (tmp_path / f"{LONG}.txt").write_text("\n".join(map(repr, x.tolist())))
    for part in ("TRAIN", "TEST"):
        rows = rng.normal(3, 5, (3, 2, 7))
        lists = [":".join(",".join(map(repr, c.tolist())) for c in row) for row in rows]
        text = "".join(f"{row}:{label}\n" for row, label in zip(lists, "aba", strict=True))
        (tmp_path / f"Toy_{part}.ts").write_text(f"@classLabel true a b\n@data\n{text}")
    return str(tmp_path)


def test_long_series_is_cut_in_time(folder: str) -> None:
    x = np.loadtxt(pathlib.Path(folder) / f"{LONG}.txt")
    z = (x - x[:30].mean()) / x[:30].std()
    for split, start, end in (("train", 0, 30), ("valid", 30, 40), ("test", 40, 50)):
        data = ucr_forecast.load(split, LONG, folder, length=4, horizon=2)
        assert data.spec.grid == (4, 1)
        assert data.spec.target_shape == (6,)
        assert data.y is not None
        assert data.label is None
        expected = z[np.arange(start, end - 5)[:, None] + np.arange(6)]
        np.testing.assert_allclose(data.y, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(data.x, data.y[:, :4])


def test_labelled_series_keep_split_and_label(folder: str) -> None:
    first = (pathlib.Path(folder) / "Toy_TRAIN.ts").read_text().splitlines()[2:]
    series = [
        np.array([channel.split(",") for channel in line.split(":")[:2]], float).T for line in first
    ]
    mean, sd = np.concatenate(series).mean(0), np.concatenate(series).std(0)
    data = ucr_forecast.load("train", "Toy", folder, length=3, horizon=2, stride=2)
    assert data.spec.grid == (3, 2)
    assert data.spec.d_out == 10
    assert data.y is not None
    assert data.label is not None
    assert data.label.tolist() == [0, 0, 1, 1, 0, 0]
    expected = [(s[i : i + 5] - mean) / sd for s in series for i in (0, 2)]
    np.testing.assert_allclose(data.y.reshape(6, 5, 2), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        data.x.reshape(6, 3, 2), [e[:3] for e in expected], rtol=1e-5, atol=1e-6
    )
    test = ucr_forecast.load("test[:1]", "Toy", folder, length=3, horizon=2)
    assert test.y is not None
    assert test.length == len(test.y) == 1
    with pytest.raises(errors.DataError, match='no split "valid"'):
        ucr_forecast.load("valid", "Toy", folder, length=3, horizon=2)


def test_nothing_to_predict_is_refused(folder: str) -> None:
    with pytest.raises(errors.DataError, match="horizon=0"):
        ucr_forecast.load("train", LONG, folder, horizon=0)
    with pytest.raises(errors.DataError, match="no window of 31 fits 30 points"):
        ucr_forecast.load("train", LONG, folder, length=30, horizon=1)


@pytest.mark.network
def test_downloaded_sets(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path))
    lengths = [ucr_forecast.load(split).length for split in ("train", "valid", "test")]
    assert lengths == [4422, 1421, 1421]
    days = ucr_forecast.load("train", "ItalyPowerDemand", length=18, horizon=6)
    assert days.y is not None
    assert days.y.shape == (67, 24)
