"""Scales in which a model sees its data, undone at its output.

What a threshold, a bandwidth or the weight of an L1 term means depends on the scale of the input,
so the scale belongs to the model: it is fitted once, before the first step, lies in the state, and
is saved with it. Losses are taken in the model's scale, metrics in that of the data.

Most are `x -> (x - shift) * scale`:

  none       shift 0, scale 1
  mean       shift: the mean of the examples it was fitted on; scale 1
  mean_norm  shift 0, or the mean; scale: sqrt(d) / mean norm, after which E norm = sqrt(d)
             (Anthropic, "Update on how we train SAEs", April 2024)
  mean_square_norm
             shift 0; scale: 1 / sqrt(mean squared norm), after which E norm^2 = 1 (Rajamanoharan
             et al. 2024, arXiv:2407.14435)
  example    shift: the mean over d; scale: 1 / (standard deviation over d + 1e-5), for each
             example apart (Gao et al. 2024, arXiv:2406.04093)

and one is a matrix:

  whiten     `(x - mean) U diag(1 / sqrt(lambda + epsilon)) U^T`, with U and lambda those of the
             covariance: numbers of an example are uncorrelated and of variance 1
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.ops import scale as scales

Fitted = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """Leaves the data as they are."""

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns what must be known of the data: nothing."""
        del batches
        return {}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Elementwise:
        """Returns the scale that changes nothing."""
        del fitted
        return scales.Elementwise(jnp.zeros((1, 1), x.dtype), jnp.ones((1, 1), x.dtype))


@dataclasses.dataclass(frozen=True)
class Mean:
    """Subtracts the mean of the data."""

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the mean of the data, `[d]`, summed in float64."""
        return {"mean": _mean(batches).astype(np.float32)}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Elementwise:
        """Returns the scale that takes the mean away."""
        return scales.Elementwise(fitted["mean"][None], jnp.ones((1, 1), x.dtype))


@dataclasses.dataclass(frozen=True)
class MeanNorm:
    """Makes the mean norm of an example the square root of its width.

    Attributes:
      centre: whether to subtract the mean of the data first.
    """

    centre: bool = False

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the mean, `[d]` (zeros if it is not subtracted), and the scale, `[]`."""
        mean = _mean(batches)
        if not self.centre:
            mean = np.zeros_like(mean)
        norm = _mean_of("mean_norm", batches, lambda x: np.linalg.norm(x - mean, axis=-1))
        scale = np.sqrt(len(mean)) / norm
        return {"mean": mean.astype(np.float32), "scale": np.asarray(scale, np.float32)}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Elementwise:
        """Returns the scale that was fitted."""
        del x
        return scales.Elementwise(fitted["mean"][None], fitted["scale"][None, None])


@dataclasses.dataclass(frozen=True)
class MeanSquareNorm:
    """Makes the mean squared norm of an example 1, as a JumpReLU's bandwidth of 0.001 is meant."""

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the scale, `[]`."""
        square = _mean_of("mean_square_norm", batches, lambda x: (x**2).sum(axis=-1))
        return {"scale": np.asarray(1 / np.sqrt(square), np.float32)}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Elementwise:
        """Returns the scale that was fitted."""
        return scales.Elementwise(jnp.zeros((1, 1), x.dtype), fitted["scale"][None, None])


@dataclasses.dataclass(frozen=True)
class Example:
    """Gives each example mean 0 and standard deviation 1 over its own numbers.

    Attributes:
      epsilon: added to the standard deviation, which divides by d - 1.
    """

    epsilon: float = 1e-5

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns what must be known of the data: nothing."""
        del batches
        return {}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Elementwise:
        """Returns a scale of each example's own."""
        del fitted
        shift = x.mean(axis=-1, keepdims=True)
        size = x.std(axis=-1, keepdims=True, ddof=1) + self.epsilon
        return scales.Elementwise(shift, 1 / size)


@dataclasses.dataclass(frozen=True)
class Whiten:
    """Makes the numbers of an example uncorrelated and each of variance 1.

    Of all maps that do, it is the one that moves examples least (ZCA).

    Attributes:
      epsilon: added to the variance in every direction, as a share of the mean variance.
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Refuses a share that cannot be."""
        if self.epsilon < 0:
            raise ValueError(f"epsilon={self.epsilon}: it must be 0 or more")

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> dict[str, np.ndarray]:
        """Returns the mean `[d]`, the map and its inverse `[d, d]`, computed in float64."""
        mean = _mean(batches)
        total, n = np.zeros((len(mean), len(mean))), 0
        for x in batches():
            centred = x.astype(np.float64) - mean
            total += centred.T @ centred
            n += len(x)
        variances, directions = np.linalg.eigh(total / n)
        spread = np.sqrt(np.maximum(variances, 0) + self.epsilon * variances.mean())
        if not spread.min() > 1e-6 * spread.max():
            raise errors.DataError(
                "normaliser whiten: the data do not vary in some direction; set "
                "config.normaliser.epsilon to 1e-3"
            )
        found = {
            "mean": mean,
            "matrix": (directions / spread) @ directions.T,
            "inverse": (directions * spread) @ directions.T,
        }
        return {name: value.astype(np.float32) for name, value in found.items()}

    def scale(self, fitted: Fitted, x: jax.Array) -> scales.Linear:
        """Returns the map that was fitted."""
        del x
        return scales.Linear(fitted["mean"], fitted["matrix"], fitted["inverse"])


Normaliser = Unchanged | Mean | MeanNorm | MeanSquareNorm | Example | Whiten
BY_NAME = {
    "none": Unchanged,
    "mean": Mean,
    "mean_norm": MeanNorm,
    "mean_square_norm": MeanSquareNorm,
    "example": Example,
    "whiten": Whiten,
}


def _mean_of(
    name: str,
    batches: Callable[[], Iterable[np.ndarray]],
    size: Callable[[np.ndarray], np.ndarray],
) -> float:
    """Returns the mean over all examples of a size of each, in float64.

    Raises:
      DataError: it is 0.
    """
    total, n = 0.0, 0
    for x in batches():
        total += float(size(x.astype(np.float64)).sum())
        n += len(x)
    if total == 0:
        raise errors.DataError(
            f"normaliser {name}: every example is zero, so there is no scale; set "
            'config.normaliser.name="none"'
        )
    return total / n


def _mean(batches: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Returns the mean of all examples, float64 `[d]`."""
    total, n = 0.0, 0
    for x in batches():
        total = total + x.sum(axis=0, dtype=np.float64)
        n += len(x)
    return np.asarray(total) / n
