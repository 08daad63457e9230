"""What needs no training, for the rows that every table has: pixels, PCA, random features."""

from collections.abc import Sequence
import importlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn import decomposition

from sae_jax import types
from sae_jax.data import base


def pixels(dataset: str, split: str, **kwargs: Any) -> np.ndarray:
    """Returns the examples of a data set as a model sees them, float32 `[n, d_in]`."""
    return decoded(importlib.import_module(f"sae_jax.data.{dataset}").load(split, **kwargs))


def decoded(data: base.Arrays) -> np.ndarray:
    """Returns all examples of `data`, float32 `[n, d_in]`."""
    raw = {name: jnp.asarray(array) for name, array in data.source.items()}
    return np.asarray(data.decode(raw).x)


def pca(x: np.ndarray, k: int) -> decomposition.PCA:
    """Returns the first `k` principal components, fitted: transform, inverse_transform."""
    return decomposition.PCA(k, svd_solver="covariance_eigh").fit(x)


def projected(train: np.ndarray, x: np.ndarray, k: int) -> np.ndarray:
    """Returns the projections of `x`, `[n, d_in]`, on the first `k` components of `train`."""
    fitted = pca(train, k)
    return fitted.inverse_transform(fitted.transform(x))


def projected_at_random(train: np.ndarray, x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Returns the projections of `x`, `[n, d_in]`, on a random plane through the mean of `train`.

    `k` random directions span it.
    """
    basis, _ = np.linalg.qr(random_directions(x.shape[1], k, seed))
    mean = train.mean(axis=0)
    return (x - mean) @ basis @ basis.T + mean


def random_features(
    x: np.ndarray, d_sae: int, seed: int, mean: np.ndarray | None = None
) -> np.ndarray:
    """Returns `relu((x - mean) w)` for a random w `[d_in, d_sae]` with unit columns.

    `mean` `[d_in]` is that of `x` where none is given; to a test split give that of the training
    split.
    """
    mean = x.mean(axis=0) if mean is None else mean
    return np.maximum((x - mean) @ random_directions(x.shape[1], d_sae, seed), 0)


def features(label: str, splits: Sequence[np.ndarray], d_sae: int, seed: int) -> list[np.ndarray]:
    """Returns what a row named `label` has for codes of each split, the training split first.

    "raw pixels", "PCA, <k> components" or "random features"; the last have `d_sae` of them.
    """
    train = splits[0]
    if label == "raw pixels":
        return list(splits)
    if label == "random features":
        mean = train.mean(axis=0)
        return [random_features(x, d_sae, seed, mean) for x in splits]
    fitted = pca(train, int(label.removeprefix("PCA, ").removesuffix(" components")))
    return [fitted.transform(x) for x in splits]


def linear_fvu(train: types.Batch, test: types.Batch, grid: tuple[int, int]) -> float:
    """Returns the FVU of a least-squares fit of each layer's target on what is read up to there.

    Args:
      train: what it is fitted to.
      test: what it is measured on.
      grid: `(layers, d)` of the inputs.
    """
    layers, d = grid
    error = total = 0.0
    for layer in range(layers):
        ends, each = (layer + 1) * d, train.target.shape[1] // layers
        parts = []
        for batch in (train, test):
            read = np.asarray(batch.x[:, :ends], np.float64)
            written = np.asarray(batch.target[:, layer * each : (layer + 1) * each], np.float64)
            parts.append((np.c_[read, np.ones(len(read))], written))
        (x, y), (x_test, y_test) = parts
        w = np.linalg.lstsq(x, y, rcond=None)[0]
        error += ((y_test - x_test @ w) ** 2).sum()
        total += ((y_test - y_test.mean(axis=0)) ** 2).sum()
    return float(error / total)


def random_directions(d_in: int, d_sae: int, seed: int) -> np.ndarray:
    """Returns a random matrix `[d_in, d_sae]` with unit columns, float32."""
    w = np.random.RandomState(seed).randn(d_in, d_sae)
    return (w / np.linalg.norm(w, axis=0)).astype(np.float32)
