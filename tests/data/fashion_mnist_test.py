"""Fashion-MNIST's files, however they come."""

import dataclasses
import gzip
import hashlib
import pathlib
from typing import Any

import numpy as np
import pytest

from sae_jax import fetch
from sae_jax.data import fashion_mnist, mnist


def toy() -> fetch.Files:
    x = np.arange(5 * 784).reshape(5, 784) % 251
    return mnist.to_idx("train", x, np.arange(5)) | mnist.to_idx("t10k", x[:2], np.arange(2))


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in toy().items()}
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "SHA256", sha256)
    recipe = dataclasses.replace(fashion_mnist.RECIPE, sha256=sha256)
    monkeypatch.setattr(fashion_mnist, "RECIPE", recipe)
    return tmp_path


def test_folder_becomes_arrays(folder: pathlib.Path) -> None:
    for name, content in toy().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    data = fashion_mnist.load("train[1:]", folder=str(folder))
    assert data.spec.name == "fashion_mnist"
    assert data.spec.image_shape == (28, 28, 1)
    assert data.x.shape == (4, 784)
    assert data.label is not None
    assert data.label.tolist() == [1, 2, 3, 4]


def test_classes_keep_their_examples(folder: pathlib.Path) -> None:
    for name, content in toy().items():
        (folder / name).write_bytes(content)
    data = fashion_mnist.load("train[1:]", folder=str(folder), classes=(0, 4, 2))
    assert data.label is not None
    assert data.label.tolist() == [2, 4]
    np.testing.assert_array_equal(data.x[1], np.arange(4 * 784, 5 * 784) % 251)


def test_debian_package_is_unpacked_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(package: str, into: pathlib.Path) -> pathlib.Path:
        assert package == "dataset-fashion-mnist"
        data = into / "unpacked/usr/share/datasets/fashion-mnist"
        data.mkdir(parents=True)
        for name, content in toy().items():
            (data / f"{name}.gz").write_bytes(gzip.compress(content))
        return into / "unpacked"

    monkeypatch.setattr(fetch, "debian_package", unpack)
    routes = (fashion_mnist.RECIPE.routes[-1],)
    recipe: Any = dataclasses.replace(fashion_mnist.RECIPE, routes=routes)
    monkeypatch.setattr(fashion_mnist, "RECIPE", recipe)
    assert fashion_mnist.load("test").length == 2


def test_routes_come_in_the_promised_order() -> None:
    names = [route.name for route in fashion_mnist.RECIPE.routes]
    kinds = ["TFDS", "http://", "/usr/share/datasets", "apt-get download"]
    assert len(names) == len(kinds)
    for name, kind in zip(names, kinds, strict=True):
        assert kind in name


@pytest.mark.network
def test_debian_package_gives_the_original_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    files = fashion_mnist.RECIPE.routes[-1].read()
    for name, sha256 in fashion_mnist.SHA256.items():
        assert hashlib.sha256(files[name]).hexdigest() == sha256
