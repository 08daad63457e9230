"""How unlike normal examples an example is, by what a model leaves of it and by its code.

  residual  ||x - x_hat||^2, summed over d, in the squared units of the data
  latent    mean Euclidean distance of the whitened code to the nearest codes of training examples
  both      z(log residual) + z(log latent), the z-scores by mean and standard deviation of the
            logarithms over normal examples that the model was not trained on; there a score below
            1 % of their mean counts as that

A code is whitened by the inverse square root of the covariance of the training codes, shrunk
towards a multiple of the identity (Ledoit & Wolf 2004), so that no direction in which codes hardly
vary decides. Of one nearest neighbour on the data themselves this is the classical novelty
detector (Tax & Duin 2000).

A threshold for a wanted rate of false alarms is a quantile of normal examples' scores with the
correction for finite samples of split conformal prediction (Vovk, Gammerman & Shafer 2005; Bates et
al. 2023, Annals of Statistics 51, 149).
"""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from sae_jax import errors

# Every run looks here whether it has anomalies; sklearn, two seconds, waits until one has.
if TYPE_CHECKING:
    from sklearn import neighbors

KINDS = ("residual", "latent", "both")
_SMALLEST = 0.01  # Of a normal score: what is below is as normal, whatever its logarithm.


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Examples and what a model makes of them.

    Attributes:
      x: `[n, d]`, in the scale of the data.
      x_hat: `[n, d]`, their reconstructions.
      codes: `[n, d_sae]`.
    """

    x: np.ndarray
    x_hat: np.ndarray
    codes: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray) -> "Encoded":
        """Returns some of the examples."""
        return Encoded(self.x[rows], self.x_hat[rows], self.codes[rows])


@dataclasses.dataclass(frozen=True)
class Unit:
    """How a score's logarithm becomes a z-score.

    Attributes:
      floor: smaller scores count as this.
      mean: of the logarithm over normal examples.
      sd: of it.
    """

    floor: float
    mean: float
    sd: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Returns `(log score - mean) / sd`."""
        return (np.log(np.maximum(scores, self.floor)) - self.mean) / self.sd


@dataclasses.dataclass(frozen=True)
class Scorer:
    """What normal examples are like; called with others, it says how unlike they are.

    Attributes:
      whiten: `[d_sae, rank]`, what a code is multiplied with.
      nearest: finds the nearest whitened codes of training examples.
      units: of the residual and of the latent score.
    """

    whiten: np.ndarray
    nearest: "neighbors.NearestNeighbors"
    units: dict[str, Unit]

    def __call__(self, encoded: Encoded) -> dict[str, np.ndarray]:
        """Returns the three scores, float64 `[n]` each; higher is less normal."""
        scores = {
            "residual": residual(encoded),
            "latent": self.nearest.kneighbors(_whitened(encoded, self.whiten))[0].mean(axis=1),
        }
        both = sum(unit(scores[name]) for name, unit in self.units.items())
        return scores | {"both": np.asarray(both)}


def fit(train: Encoded, held_out: Encoded, neighbours: int = 5) -> Scorer:
    """Returns the scorer that normal examples make.

    Args:
      train: normal examples, as a rule those the model was trained on; their codes are kept.
      held_out: other normal examples, which give the z-scores their units.
      neighbours: how many of the nearest training codes count.

    Raises:
      DataError: there are too few examples.
    """
    if len(train.x) < neighbours or len(held_out.x) < 2:
        raise errors.DataError(
            f"{len(train.x)} examples to compare with and {len(held_out.x)} held out are too few: "
            f"at least {neighbours} and 2 are needed"
        )
    from sklearn import covariance, neighbors

    codes = train.codes.astype(np.float64)
    whiten = _inverse_root(covariance.ledoit_wolf(codes)[0])
    nearest = neighbors.NearestNeighbors(n_neighbors=neighbours).fit(_whitened(train, whiten))
    plain = Scorer(whiten, nearest, {})
    scores = plain(held_out)
    return dataclasses.replace(
        plain, units={name: _unit(scores[name]) for name in ("residual", "latent")}
    )


def residual(encoded: Encoded) -> np.ndarray:
    """Returns `||x - x_hat||^2` of each example, summed over d, float64 `[n]`."""
    return ((encoded.x.astype(np.float64) - encoded.x_hat) ** 2).sum(axis=1)


def threshold(scores: np.ndarray, false_alarms: float) -> float:
    """Returns the score above which an example is called an anomaly.

    It is the `ceil((n + 1) (1 - false_alarms))`-th smallest of the `n` scores. If they and the
    score of a new normal example are exchangeable (the scorer saw none of them), the new one is
    above it with a probability of at most `false_alarms`, and, where no two are alike, of more than
    `false_alarms - 1 / (n + 1)`; over the draw of the `n` and of the new one.

    Args:
      scores: `[n]`, of normal examples that neither the model nor the scorer was fitted to.
      false_alarms: between 0 and 1.

    Raises:
      DataError: so few scores can vouch for no such rate.
    """
    if not 0 < false_alarms < 1:
        raise errors.DataError(f"false_alarms={false_alarms} is no rate: set it between 0 and 1")
    n = len(scores)
    # A sum that is a whole number on paper must not be rounded up to the next.
    rank = math.ceil((n + 1) * (1 - false_alarms) - 1e-9)
    if rank > n:
        raise errors.DataError(
            f"{n} normal examples cannot vouch for a rate of {false_alarms:g} false alarms: it "
            f"takes {math.ceil(1 / false_alarms - 1e-9) - 1}, or a rate of {1 / (n + 1):.2g}"
        )
    return float(np.partition(scores, rank - 1)[rank - 1])


def separation(scores: np.ndarray, anomalous: np.ndarray) -> dict[str, float]:
    """Returns "auroc", the area under the ROC curve, and "ap", the average precision.

    AUROC is the probability that an anomaly scores above a normal example; AP is the mean of the
    precision over the ranks of the anomalies, whose chance level is their share.

    Args:
      scores: `[n]`.
      anomalous: bool `[n]`; there is at least one of each kind.
    """
    from sklearn import metrics

    kinds = np.asarray(anomalous, bool)
    if kinds.all() or not kinds.any():
        raise errors.DataError("AUROC needs normal examples and anomalies: there is only one kind")
    return {
        "auroc": float(metrics.roc_auc_score(kinds, scores)),
        "ap": float(metrics.average_precision_score(kinds, scores)),
    }


def _whitened(encoded: Encoded, whiten: np.ndarray) -> np.ndarray:
    return encoded.codes.astype(np.float64) @ whiten


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    """Returns `[d, d]`, the symmetric inverse square root; zeros for a matrix of zeros."""
    values, vectors = np.linalg.eigh(matrix)
    safe = np.where(values > 0, values, 1.0)
    return (vectors * np.where(values > 0, safe**-0.5, 0.0)) @ vectors.T


def _unit(scores: np.ndarray) -> Unit:
    floor = _SMALLEST * float(scores.mean()) or np.finfo(np.float64).tiny
    logs = np.log(np.maximum(scores, floor))
    return Unit(floor, float(logs.mean()), float(logs.std()) or 1.0)
