"""What needs no training, for the rows that every table has: pixels, PCA, random features.

Where features are known, a baseline is a dictionary with codes and reconstructions (`Coded`), and
`scores` measures it as runs are measured.
"""

from collections.abc import Sequence
import importlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import decomposition

from sae_jax import types
from sae_jax.data import base, world

_BATCH = 2000


class Coded(NamedTuple):
    """What a dictionary makes of examples.

    Attributes:
      rows: `[n, d_out]`, the dictionary.
      codes: `[batch, n]`.
      x_hat: `[batch, d_out]`, the reconstructions.
    """

    rows: np.ndarray
    codes: np.ndarray
    x_hat: np.ndarray


def oracle(
    rows: np.ndarray, train: tuple[np.ndarray, np.ndarray], codes: np.ndarray, k: float
) -> Coded:
    """Returns the true features with their true codes, the k largest of an example on average.

    What is left out is replaced by its mean. Larger is what writes more: a code times the norm of
    its row.

    Args:
      rows: `[n, d_out]`, the true features.
      train: codes `[examples, n]` and targets `[examples, d_out]`, to take the mean of the rest of.
      codes: `[batch, n]`, those to keep the largest of.
      k: how many.
    """
    norms = np.linalg.norm(rows, axis=1)
    seen, kept = (_largest(each, each * norms, k) for each in (train[0], codes))
    rest = (train[1] - seen @ rows).mean(axis=0)
    return Coded(rows, kept, kept @ rows + rest)


def components(train: np.ndarray, x: np.ndarray, k: int) -> Coded:
    """Returns what the first `k` principal components of `train` make of `x`, `[n, d_out]` each."""
    fitted = pca(train, k)
    codes = fitted.transform(x)
    return Coded(fitted.components_, codes, fitted.inverse_transform(codes))


def largest_projections(train: np.ndarray, x: np.ndarray, d_sae: int, k: int, seed: int) -> Coded:
    """Returns what the k largest projections of `x` on random directions make of it.

    Of `x` less the mean of `train`, `[n, d_out]` each; negative ones are 0.
    """
    rows = random_directions(x.shape[1], d_sae, seed).T
    shown = np.maximum((x - train.mean(axis=0)) @ rows.T, 0)
    codes = np.where(shown >= np.sort(shown, axis=1)[:, -k:][:, :1], shown, 0)
    return Coded(rows, codes, codes @ rows + train.mean(axis=0))


def scores(
    data: base.Dataset, batch: types.Batch, coded: Coded, metrics: Sequence[str]
) -> dict[str, float]:
    """Returns what files of `sae_jax/metrics` have to say of a dictionary.

    Args:
      data: where the examples are from.
      batch: the examples.
      coded: what the dictionary makes of them.
      metrics: names of the files.
    """
    found: dict[str, float] = {}
    reference = jnp.mean(batch.target, axis=0)
    for name in metrics:
        metric: Any = importlib.import_module(f"sae_jax.metrics.{name}")
        given = {}
        if hasattr(metric, "prepare"):
            given["prepared"] = metric.prepare({"w_dec": coded.rows}, data)
        totals: dict[str, Any] = {}
        for start in range(0, batch.size, _BATCH):
            part = slice(start, start + _BATCH)
            codes = jnp.asarray(coded.codes[part], jnp.float32)
            output = types.Output(jnp.asarray(coded.x_hat[part], jnp.float32), codes, codes)
            examples = jax.tree.map(lambda array, part=part: array[part], batch)
            for key, total in metric.sums(examples, output, reference, **given).items():
                totals[key] = totals.get(key, 0) + np.asarray(total, np.float64)
        found |= metric.finish(totals)
    return found


def _largest(codes: np.ndarray, size: np.ndarray, k: float) -> np.ndarray:
    """Returns codes of which the k largest by `size`, for each example on average, are left."""
    count = round(k * len(codes))
    if count >= codes.size:
        return codes
    least = np.partition(size, codes.size - count, axis=None)[codes.size - count]
    return np.where(size >= least, codes, 0)


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


def neurons(data: world.World, batch: types.Batch, grid: tuple[int, int]) -> np.ndarray:
    """Returns how active the neurons of a stack of MLPs are, `[batch, layers * hidden]`.

    Args:
      data: a world whose network has `w_in` `[layers, d, hidden]` and `b_in` `[layers, hidden]`.
      batch: examples of it.
      grid: `(layers, d)` of what they are.
    """
    read = np.asarray(batch.x).reshape(-1, *grid)
    pre = np.einsum("nld,ldh->nlh", read, data.source["w_in"]) + data.source["b_in"]
    return np.maximum(pre, 0).reshape(len(read), -1)


def random_directions(d_in: int, d_sae: int, seed: int) -> np.ndarray:
    """Returns a random matrix `[d_in, d_sae]` with unit columns, float32."""
    w = np.random.RandomState(seed).randn(d_in, d_sae)
    return (w / np.linalg.norm(w, axis=0)).astype(np.float32)
