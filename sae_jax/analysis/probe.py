"""How well classes can be told from codes: linear probes.

The strength of the regulariser is the one of a few that is best on the last training examples,
which are left out for that; then the probe is fitted to all training examples. The test examples
are looked at once. Errors are shares of the examples in %.

Codes are divided by one number, so that their mean square norm is 1 and the same settings suit any
code; latents keep their ratios. Codes that are mostly zeros are used as sparse matrices.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import linear_model, svm

from sae_jax import errors
from sae_jax.data import base

_SPARSE = 0.3  # Below this share of numbers that are not 0 a sparse matrix is faster.
_C = (1.0, 10.0, 100.0)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Codes `[n, d_sae]` and their classes `[n]`."""

    codes: np.ndarray
    label: np.ndarray


def of(codes: np.ndarray, data: base.Arrays) -> Examples:
    """Returns the codes of a data set with its labels."""
    if data.label is None:
        raise errors.DataError(f"{data.spec.name} has no labels: there is nothing to probe for")
    return Examples(codes, data.label)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a probe reached.

    Attributes:
      error: of the test examples, in %.
      setting: the C that was chosen.
      validation: error of the examples left out, in %, by setting.
    """

    error: float
    setting: float
    validation: dict[float, float]


def logistic_regression(
    train: Examples, test: Examples, validation: int, settings: Sequence[float] = _C
) -> Result:
    """Returns what multinomial logistic regression reaches.

    It minimises `1/2 ||w||^2 + C sum_i -log p(label_i)`, biases free, by L-BFGS.

    Args:
      train: what is learnt from.
      test: what is reported.
      validation: how many of the last training examples choose the setting.
      settings: values of C, of which one is chosen.
    """

    def fit(c: float, x: Any, label: np.ndarray) -> Any:
        return linear_model.LogisticRegression(C=c, max_iter=2000).fit(x, label)

    return _chosen(fit, train, test, validation, settings)


def linear_svm(
    train: Examples, test: Examples, validation: int, settings: Sequence[float] = _C
) -> Result:
    """Returns what linear support vector machines reach, one class against the rest.

    Each minimises `1/2 ||w||^2 + C sum_i max(0, 1 - t_i (w x_i + b))^2`, t = +-1, b in the norm,
    by a trust-region Newton method.

    Args:
      train: what is learnt from.
      test: what is reported.
      validation: how many of the last training examples choose the setting.
      settings: values of C, of which one is chosen.
    """

    def fit(c: float, x: Any, label: np.ndarray) -> Any:
        return svm.LinearSVC(C=c, dual=False).fit(x, label)

    return _chosen(fit, train, test, validation, settings)


def _chosen(
    fit: Callable[[float, Any, np.ndarray], Any],
    train: Examples,
    test: Examples,
    validation: int,
    settings: Sequence[float],
) -> Result:
    """Chooses a setting, fits it to all training examples, and looks at the test examples."""
    if not 0 < validation < len(train.label):
        raise ValueError(f"validation={validation} of {len(train.label)} examples: choose fewer")
    x, x_test = _prepared(train.codes, test.codes)
    kept = len(train.label) - validation
    errors = {}
    for setting in settings:
        model = fit(setting, x[:kept], train.label[:kept])
        errors[setting] = _error(model, x[kept:], train.label[kept:])
    best = min(errors, key=lambda setting: errors[setting])
    error = _error(fit(best, x, train.label), x_test, test.label)
    return Result(error, best, errors)


def _prepared(train: np.ndarray, test: np.ndarray) -> tuple[Any, Any]:
    """Returns both divided by one number, as sparse matrices if most numbers are 0."""
    scale = np.sqrt((train.astype(np.float64) ** 2).sum(axis=1).mean())
    if not scale > 0:
        raise ValueError("all codes are 0: there is nothing to tell classes from")
    both = tuple((part / scale).astype(np.float32) for part in (train, test))
    if np.count_nonzero(train) < _SPARSE * train.size:
        both = tuple(sparse.csr_matrix(part) for part in both)
    return both[0], both[1]


def _error(model: Any, x: Any, label: np.ndarray) -> float:
    return 100 * float((model.predict(x) != label).mean())
