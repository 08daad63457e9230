"""How well a few latents alone tell a class: k-sparse probing, as in SAEBench.

For each class, the k latents whose means in and out of it differ most are found on training
examples, and a logistic regression on these k is measured on test examples, of which half are of
the class (Gurnee et al. 2023, arXiv 2305.01610; SAEBench, arXiv 2503.09532). A class that one
latent stands for has as good a probe with k = 1 as with all of them.
"""

from collections.abc import Sequence

import numpy as np
from sklearn import linear_model

from sae_jax import errors
from sae_jax.analysis import probe

_LEAST = 10


def accuracies(
    train: probe.Examples, test: probe.Examples, ks: Sequence[int] = (1, 2, 5)
) -> dict[int, float]:
    """Returns the share of balanced test examples that are told right, mean over classes, by k.

    Args:
      train: codes `[n, d_sae]`, or anything else that is to be compared with them, and classes.
      test: what is measured.
      ks: numbers of latents, from 1 to d_sae.

    Raises:
      DataError: a class has too few examples, or there are fewer latents than k.
    """
    width = train.codes.shape[1]
    if bad := [k for k in ks if not 1 <= k <= width]:
        raise errors.DataError(f"k={bad[0]}: it must be from 1 to {width} latents")
    found: dict[int, list[float]] = {k: [] for k in ks}
    for label in np.unique(train.label):
        known, is_known = _balanced(train, label)
        asked, is_asked = _balanced(test, label)
        order = np.argsort(-np.abs(known[is_known].mean(axis=0) - known[~is_known].mean(axis=0)))
        for k in ks:
            model = _fitted(known[:, order[:k]], is_known)
            found[k].append(model.score(asked[:, order[:k]] / _size(known[:, order[:k]]), is_asked))
    return {k: float(np.mean(shares)) for k, shares in found.items()}


def _fitted(x: np.ndarray, label: np.ndarray) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(max_iter=1000).fit(x / _size(x), label)


def _size(x: np.ndarray) -> float:
    """Returns what codes are divided by, so that one strength of the regulariser suits any."""
    return float(np.sqrt((x**2).mean())) or 1.0


def _balanced(examples: probe.Examples, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns codes of which half are of a class, and which are."""
    is_inside = examples.label == label
    inside, outside = np.flatnonzero(is_inside), np.flatnonzero(~is_inside)
    count = min(len(inside), len(outside))
    if count < _LEAST:
        raise errors.DataError(
            f"class {label} has {len(inside)} examples and {len(outside)} others: a probe needs "
            f"{_LEAST} of each"
        )
    random = np.random.RandomState(0)
    chosen = np.concatenate([random.permutation(part)[:count] for part in (inside, outside)])
    return examples.codes[chosen], np.arange(2 * count) < count
