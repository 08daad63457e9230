"""The 8 x 8 digits."""

import dataclasses
import gzip
import importlib.util
import pathlib
import sys
import zipfile

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import digits

MEMBER = "sklearn/datasets/data/digits.csv.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digits"


def only(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Leaves one route, so that no test asks the network."""
    routes = (digits.RECIPE.routes[number],)
    monkeypatch.setattr(digits, "RECIPE", dataclasses.replace(digits.RECIPE, routes=routes))


def test_installed_scikit_learn_serves_without_being_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")
    only(monkeypatch, 0)
    monkeypatch.delitem(sys.modules, "sklearn")
    train, test = digits.load("train"), digits.load("test")
    assert "sklearn" not in sys.modules
    assert (train.length, test.length) == (1500, 297)
    assert train.spec.image_shape == (8, 8, 1)
    assert train.scale == 16
    assert train.x.max() == 16
    assert train.label is not None
    assert train.label[:10].tolist() == list(range(10))


def test_same_as_scikit_learns_own_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    only(monkeypatch, 0)
    x, label = datasets.load_digits(return_X_y=True)
    train, test = digits.load("train"), digits.load("test")
    assert train.label is not None
    assert test.label is not None
    np.testing.assert_array_equal(np.concatenate([train.x, test.x]), x)
    np.testing.assert_array_equal(np.concatenate([train.label, test.label]), label)


def test_without_scikit_learn_and_network_the_error_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_wheel(requirement: str, folder: pathlib.Path, *_: object) -> pathlib.Path:
        raise fetch.RouteFailed("pip has no network")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(fetch, "pip_wheel", no_wheel)
    with pytest.raises(errors.DataError, match=r"not installed; .*no network.*digits\.csv"):
        digits.load("train")


def test_wheel_and_folder_give_what_scikit_learn_gives(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    content = digits.RECIPE.routes[0].read()["digits.csv"]

    def wheel(requirement: str, folder: pathlib.Path, *_: object) -> pathlib.Path:
        path = folder / "scikit_learn-1-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(MEMBER, gzip.compress(content))
        return path

    monkeypatch.setattr(fetch, "pip_wheel", wheel)
    assert digits.RECIPE.routes[1].read() == {"digits.csv": content}
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content))
    assert digits.load("train[:7]", folder=str(tmp_path)).x.shape == (7, 64)
    (tmp_path / "digits.csv.gz").write_bytes(gzip.compress(content[:-100]))
    with pytest.raises(errors.DataError, match=r"digits\.csv\.gz is damaged"):
        digits.load("train", folder=str(tmp_path))


def test_classes_keep_their_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    only(monkeypatch, 0)
    data = digits.load("train[:30]", classes=(3, 7))
    assert data.label is not None
    assert data.label.tolist() == [3, 7, 3, 7, 3, 7]
    np.testing.assert_array_equal(data.x[0], digits.load("train").x[3])


@pytest.mark.network
def test_downloaded_wheel_gives_the_same_file() -> None:
    pytest.importorskip("sklearn")
    installed, downloaded = (route.read() for route in digits.RECIPE.routes)
    assert installed == downloaded
