"""Shuttle's readings: who is where, and in which units."""

import dataclasses
import gzip
import hashlib
import pathlib

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import shuttle

NORMAL, ANOMALIES = 1000, 40


def toy() -> np.ndarray:
    """Rows of nine columns and the label; column 0 tells the rows apart, column 1 is constant."""
    rng = np.random.default_rng(0)
    n = NORMAL + ANOMALIES
    table = np.concatenate([rng.integers(-50, 90, (n, 9)), np.zeros((n, 1), int)], 1)
    table[:, 0] = np.arange(n)
    table[:, 1] = 7
    table[:, 2] = rng.normal(0, 1000, n)
    table[rng.permutation(n)[:ANOMALIES], 9] = 1
    normal = np.flatnonzero(table[:, 9] == 0)
    table[normal[rng.permutation(NORMAL)[:3]], 2] = 1_000_000
    return table


def toy_file() -> bytes:
    head = ",".join([f"f{i}" for i in range(1, 10)] + ["anomaly"])
    return "\n".join([head, *(",".join(map(str, row)) for row in toy())]).encode() + b"\n"


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    sha256 = {"shuttle.csv": hashlib.sha256(toy_file()).hexdigest()}
    recipe = dataclasses.replace(shuttle.RECIPE, sha256=sha256, routes=())
    monkeypatch.setattr(shuttle, "RECIPE", recipe)
    (tmp_path / "shuttle.csv.gz").write_bytes(gzip.compress(toy_file()))
    return str(tmp_path)


def parts(folder: str, **kwargs: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs and labels of the three splits."""
    found = []
    for split in ("train", "valid", "test"):
        data = shuttle.load(split, folder, **kwargs)  # type: ignore[arg-type]
        assert data.label is not None
        assert data.x.dtype == np.float32
        found.append((data.x, data.label))
    return found


def test_normal_rows_are_split_and_anomalies_are_only_tested(folder: str) -> None:
    (train, a), (valid, b), (test, c) = parts(folder)
    assert (len(train), len(valid), len(test)) == (600, 200, 200 + ANOMALIES)
    assert (a.sum(), b.sum(), c.sum()) == (0, 0, ANOMALIES)
    # Column 0 grows along the file, so it shows that no row is lost or twice, and the order.
    whole = np.concatenate([train[:, 0], valid[:, 0], test[:, 0]])
    assert len(np.unique(whole)) == NORMAL + ANOMALIES
    assert (np.diff(test[:, 0]) > 0).all()
    place = np.searchsorted(np.sort(whole), test[:, 0])
    np.testing.assert_array_equal(toy()[place, 9], c)


def test_columns_are_in_units_of_the_middle_of_train(folder: str) -> None:
    ((train, _), _, (test, label)) = parts(folder, clip=np.inf)
    table = toy().astype(float)
    rows = np.sort(train[:, 0])
    rank = np.searchsorted(np.sort(np.concatenate([p[0][:, 0] for p in parts(folder)])), rows)
    column = table[rank, 2]
    low, high = np.percentile(column, [0.5, 99.5])
    middle = np.minimum(np.maximum(column, low), high)
    np.testing.assert_allclose(
        train[:, 2], (column - middle.mean()) / middle.std(), rtol=1e-5, atol=1e-6
    )
    assert (train[:, 1] == 0).all()
    assert (test[:, 1] == 0).all()
    assert label.any()


def test_far_values_are_clipped(folder: str) -> None:
    free, default, narrow = (
        np.concatenate([x for x, _ in parts(folder, **kwargs)])
        for kwargs in (dict(clip=np.inf), {}, dict(clip=0.5))
    )
    assert np.abs(free).max() > 100
    np.testing.assert_array_equal(default, np.clip(free, -5, 5))
    np.testing.assert_array_equal(narrow, np.clip(free, -0.5, 0.5))
    with pytest.raises(errors.DataError, match="clip=0"):
        shuttle.load("train", folder, clip=0)


def test_another_fold_is_another_split(folder: str) -> None:
    first, again, other = (parts(folder, fold=fold)[0][0] for fold in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert (first[:, 2] != other[:, 2]).any()


@pytest.mark.network
def test_downloaded_wheel_has_the_published_counts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path))
    recipe = dataclasses.replace(shuttle.RECIPE, routes=shuttle.RECIPE.routes[-1:])
    monkeypatch.setattr(shuttle, "RECIPE", recipe)
    assert [route.name for route in recipe.routes] == ["pip download river==0.26.1"]
    (train, _), (valid, _), (test, label) = parts("")
    assert (len(train), len(valid), len(test), label.sum()) == (27352, 9117, 12628, 3511)
    assert fetch.cache_folder("shuttle").is_dir()
