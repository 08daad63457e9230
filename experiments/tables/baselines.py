"""What needs no training, for the rows that every table has: pixels, PCA, random features."""

import importlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn import decomposition

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


def random_features(x: np.ndarray, d_sae: int, seed: int) -> np.ndarray:
    """Returns `relu((x - mean) w)` for a random w `[d_in, d_sae]` with unit columns."""
    w = np.random.RandomState(seed).randn(x.shape[1], d_sae)
    w /= np.linalg.norm(w, axis=0)
    return np.maximum((x - x.mean(axis=0)) @ w.astype(np.float32), 0)
