"""Corrupted MNIST test images, restored: PSNR of the mean error (peak 1) and mean SSIM.

Autoencoders train on the 60,000 training images, corrupted anew at each step. Baselines know the
same: the projection on principal components, the better of a Gaussian and a median filter, and the
best affine map to clean images (ridge regression) from corrupted ones or from 1,000 random features
of them. Components, filter and penalty were chosen by PSNR on the last 10,000 training images; what
baselines give is cut to 0..1.
"""

from collections.abc import Callable, Sequence
import functools

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
from scipy import ndimage
from sklearn import linear_model

from configs import denoising_mnist
from experiments import build, tables
from experiments.tables import baselines
from sae_jax.metrics import psnr, ssim

TITLE = "Denoising, deblurring, inpainting"
COLUMNS = {"psnr": "PSNR, dB", "psnr_gain": "gain on the input, dB", "ssim": "SSIM"}
SIZE = (7.0, 5.6)
_GRID = (28, 28, 1)
_VARIANTS = {"noise": "", "blur": "blur", "patch": "patch"}
_COMPONENTS = (10, 20, 30, 40, 60, 80, 120, 200, 400)
_FEATURES = 1000
_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
Map = Callable[[np.ndarray], np.ndarray]


def _rows() -> list[tables.Row]:
    found = []
    for kind, variant in _VARIANTS.items():
        names = ("input", "filter", "PCA", "ridge regression", "random features")
        found += [tables.Row(f"{kind}: {name}", seeds=(0,)) for name in names]
        path = "configs/denoising_mnist.py" + (f":{variant}" if variant else "")
        found.append(tables.Row(f"{kind}: autoencoder", path))
    stacked = tables.Row("noise: logistic, layer by layer", "configs/denoising_mnist.py:stacked")
    return [*found[:6], stacked, *found[6:]]


ROWS = tuple(_rows())


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns PSNR, its gain on the input's, and SSIM, on the test images."""
    del seed
    if run is not None:
        return {name: run.results[f"test/{name}"] for name in COLUMNS}
    kind, _, name = row.label.partition(": ")
    seen, clean = _images(_VARIANTS[kind], "test")
    x_hat = seen if name == "input" else _restored(name, _VARIANTS[kind], seen)
    return {
        "psnr": _psnr(x_hat, clean),
        "psnr_gain": _psnr(x_hat, clean) - _psnr(seen, clean),
        "ssim": float(ssim.of(jnp.asarray(x_hat), jnp.asarray(clean), _GRID).mean()),
    }


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws a bar for the PSNR of each row."""
    tables.draw_bars(lines, "psnr", "PSNR on test images, dB", figure)


@functools.lru_cache(maxsize=3)  # The splits of one corruption.
def _images(variant: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images as a variant's evaluation has them, corrupted and clean, `[n, 784]`."""
    config = denoising_mnist.get_config(variant)
    config.evals.test.split = split
    evaluation = build.task(config).evaluations["test"]
    batch = evaluation.first(evaluation.data.length)
    return np.asarray(batch.x), np.asarray(batch.target)


def _restored(name: str, variant: str, seen: np.ndarray) -> np.ndarray:
    """Returns what a baseline, at the setting that is best elsewhere, makes of corrupted images."""
    known = _images(variant, "train[:50000]")
    maps = {
        "filter": _filters,
        "PCA": _projections,
        "ridge regression": _regressions,
        "random features": _on_random_features,
    }[name](*known)
    valid, clean = _images(variant, "train[50000:]")
    best = max(maps, key=lambda setting: _psnr(np.clip(maps[setting](valid), 0, 1), clean))
    return np.clip(maps[best](seen), 0, 1)


def _filters(seen: np.ndarray, clean: np.ndarray) -> dict[str, Map]:
    """Returns Gaussian filters from none to wide, and median filters."""
    del seen, clean

    def on_pictures(apply: Map) -> Map:
        return lambda x: apply(x.reshape(-1, *_GRID[:2])).reshape(x.shape)

    wide = {
        f"gaussian {sigma}": functools.partial(ndimage.gaussian_filter, sigma=sigma, axes=(1, 2))
        for sigma in (0.0, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5)
    }
    median = {
        f"median {size}": functools.partial(ndimage.median_filter, size=size, axes=(1, 2))
        for size in (3, 5)
    }
    return {name: on_pictures(apply) for name, apply in (wide | median).items()}


def _projections(seen: np.ndarray, clean: np.ndarray) -> dict[str, Map]:
    """Returns projections on the first k principal components of the clean images, by k."""
    del seen
    fitted = baselines.pca(clean, max(_COMPONENTS))

    def project(x: np.ndarray, k: int) -> np.ndarray:
        rows = fitted.components_[:k]
        return (x - fitted.mean_) @ rows.T @ rows + fitted.mean_

    return {str(k): functools.partial(project, k=k) for k in _COMPONENTS}


def _regressions(seen: np.ndarray, clean: np.ndarray) -> dict[str, Map]:
    """Returns affine maps from corrupted to clean images, by their penalty."""
    fitted = {c: linear_model.Ridge(c, solver="cholesky").fit(seen, clean) for c in _PENALTIES}
    return {str(c): each.predict for c, each in fitted.items()}


def _on_random_features(seen: np.ndarray, clean: np.ndarray) -> dict[str, Map]:
    """Returns affine maps to clean images from random features of corrupted ones."""
    mean = seen.mean(axis=0)
    features = functools.partial(baselines.random_features, d_sae=_FEATURES, seed=0, mean=mean)
    maps = _regressions(features(seen), clean)

    def after_features(apply: Map) -> Map:
        return lambda x: apply(features(x))

    return {c: after_features(apply) for c, apply in maps.items()}


def _psnr(x_hat: np.ndarray, clean: np.ndarray) -> float:
    return psnr.decibels(((x_hat - clean) ** 2).mean())
