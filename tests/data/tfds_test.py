"""Data sets that TFDS has prepared, read without TensorFlow."""

import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import tfds as module

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")

N = {"train": 11, "test": 4}


def image(part: str, i: int) -> np.ndarray:
    return np.full((2, 3, 1), 10 * i + len(part), np.uint8)


def prepare(
    folder: pathlib.Path, file_format: str = "array_record", version: str = "1.0.0"
) -> None:
    generator: Any = tfds.core.GeneratorBasedBuilder
    with tfds.core.registered.skip_registration():

        class Tiny(generator):
            VERSION = tfds.core.Version(version)

            def _info(self) -> Any:
                features = {
                    "image": tfds.features.Tensor(shape=(2, 3, 1), dtype=np.uint8),
                    "vector": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "ragged": tfds.features.Tensor(shape=(None,), dtype=np.float32),
                    "name": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(num_classes=20),
                }
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager: Any) -> Any:
                return {part: self._generate_examples(part) for part in N}

            def _generate_examples(self, part: str) -> Any:
                for i in range(N[part]):
                    vector = np.arange(4, dtype=np.float32) + i
                    yield (
                        i,
                        {
                            "image": image(part, i),
                            "vector": vector,
                            "ragged": vector[: i % 3 + 1],
                            "name": f"example {i}",
                            "label": i,
                        },
                    )

    Tiny(data_dir=str(folder), file_format=file_format).download_and_prepare()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return str(folder)


pytestmark = pytest.mark.filterwarnings("default")


def test_images_and_labels_are_read(prepared: str) -> None:
    data = module.load("train", "tiny", folder=prepared)
    assert data.x.shape == (11, 6)
    assert data.x.dtype == np.uint8
    assert data.spec.image_shape == (2, 3, 1)
    assert data.label is not None
    assert data.label.dtype == np.int32
    assert sorted(data.label) == list(range(11))
    for x, label in zip(data.x, data.label, strict=True):
        np.testing.assert_array_equal(x, image("train", label).ravel())


def test_tensors_are_read(prepared: str) -> None:
    data = module.load("test", "tiny", feature="vector", folder=prepared)
    assert data.spec.image_shape is None
    assert data.x.dtype == np.float32
    assert data.label is not None
    np.testing.assert_array_equal(data.x[:, 1], data.label + 1)


def test_rows_are_those_of_the_whole(prepared: str) -> None:
    whole = module.load("train", "tiny:1.0.0", folder=prepared)
    part = module.load("train[-50%:]", "tiny", folder=prepared)
    assert part.spec.split == "train[-50%:]"
    np.testing.assert_array_equal(part.x, whole.x[round(-11 * 0.5) :])
    with pytest.raises(errors.DataError, match="is empty"):
        module.load("train[11:]", "tiny", folder=prepared)


def test_folder_is_found_by_the_environment(prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", prepared)
    assert module.load("test", "tiny").length == 4


def test_newest_version_is_read(tmp_path: pathlib.Path) -> None:
    for version in ("9.0.0", "10.0.0", "2.0.0"):
        prepare(tmp_path, version=version)
    assert str(module.open_prepared("tiny", str(tmp_path)).version) == "10.0.0"
    assert str(module.open_prepared("tiny:2.0.0", str(tmp_path)).version) == "2.0.0"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"dataset": "mnist"}, r"not prepared in .*there: tiny.*download_and_prepare"),
        ({"dataset": "tiny:3.0.0"}, "not prepared"),
        ({"split": "valid"}, 'no split "valid": it has test, train'),
        ({"feature": "pixels"}, 'no feature "pixels": it has image, label, name, ragged, vector'),
        ({"feature": "ragged"}, "fixed shape"),
        ({"feature": "name"}, "fixed shape"),
        ({"folder": "/nowhere"}, "not prepared in /nowhere .there: nothing"),
    ],
)
def test_mistakes_are_told(kwargs: dict[str, Any], text: str, prepared: str) -> None:
    arguments: dict[str, Any] = {"split": "train", "dataset": "tiny", "folder": prepared} | kwargs
    with pytest.raises(errors.DataError, match=text) as caught:
        module.load(**arguments)
    assert "\n" not in str(caught.value)


def test_format_that_needs_tensorflow_is_told(
    prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, part: str) -> None:
        raise NotImplementedError("two\nlines")

    builder = module.open_prepared("tiny", prepared)
    monkeypatch.setattr(type(builder), "as_data_source", refuse)
    with pytest.raises(errors.DataError, match="file_format='array_record'"):
        module.load("train", "tiny", folder=prepared)


def test_too_large_for_memory_is_told(prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT_BYTES", 10)
    with pytest.raises(errors.DataError, match="too much for memory"):
        module.load("train", "tiny", folder=prepared)


def test_missing_package_is_told(prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(errors.DataError, match="pip install tensorflow-datasets"):
        module.load("train", "tiny", folder=prepared)


def test_neither_tfds_nor_tensorflow_is_imported_before_need(prepared: str) -> None:
    script = f"""
import sys
from sae_jax.data import mnist, tfds
assert "tensorflow_datasets" not in sys.modules
assert tfds.load("test", "tiny", folder={prepared!r}).length == 4
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
