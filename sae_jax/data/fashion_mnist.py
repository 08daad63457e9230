"""Fashion-MNIST: 70,000 garments of 28 x 28 grey pixels (Xiao, Rasul & Vollgraf 2017)."""

from collections.abc import Mapping, Sequence
import pathlib
import tempfile

from sae_jax import fetch
from sae_jax.data import base, mnist

_PACKAGE = "dataset-fashion-mnist"
_IN_PACKAGE = "usr/share/datasets/fashion-mnist"


def load(split: str, folder: str = "", classes: Sequence[int] = ()) -> base.Arrays:
    """Returns Fashion-MNIST: "train" of 60,000 or "test" of 10,000 examples, or rows of them.

    Args:
      split: such as "train[:55000]".
      folder: with the four idx files, plain or .gz. Empty: the cache, or else they are fetched.
      classes: garments to keep, after the split was cut. Empty: all.
    """
    data = mnist.from_idx("fashion_mnist", split, fetch.files(RECIPE, folder))
    return base.of_classes(data, classes)


def _installed() -> fetch.Files:
    """Reads the Debian package where it is installed."""
    return fetch.read_all(pathlib.Path("/") / _IN_PACKAGE, SHA256)


def _apt() -> fetch.Files:
    """Reads the Debian package, unpacked in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = fetch.debian_package(_PACKAGE, pathlib.Path(folder))
        return fetch.read_all(unpacked / _IN_PACKAGE, SHA256)


SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

RECIPE = fetch.Recipe(
    "fashion_mnist",
    SHA256,
    (
        mnist.prepared("fashion_mnist"),
        fetch.mirror(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            tuple(SHA256),
        ),
        fetch.Route(f"/{_IN_PACKAGE}", _installed),
        fetch.Route(f"apt-get download {_PACKAGE}", _apt),
    ),
)
