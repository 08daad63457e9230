"""Feature absorption: a latent that stands for a class is silent where a more special one speaks.

SAEBench's definitions (arXiv 2503.09532, after Chanin et al. 2024, arXiv 2409.14507), on codes of
any labelled examples. A probe p, a unit vector, tells the class from the activations x; the *main*
latents are those that a k-sparse probe needs for it. For an example of the class that p tells
right, with projections a_i = f_i <d_i, p> of latents and t = <x, p> of the example:

  full      every main latent is silent, and the latent of the largest a_i has cos(d_i, p) >= 0.025
            and a_i >= 0.4 t
  fraction  A = the sum of the up to three largest a_i of other latents with cos(d_i, p) >= 0.1,
            M = the sum over main latents: 0 if M >= t or A < 0.4 t, else 1 if M <= 0, else
            A' / (A' + M) with A' = min(A, t - M)

both averaged over these examples. There, decoder rows are of norm 1; here a_i takes any.
"""

from typing import NamedTuple

import numpy as np
from sklearn import linear_model, metrics

from sae_jax import errors
from sae_jax.ops import dictionaries

_FULL_COSINE, _FRACTION_COSINE, _PROPORTION, _ABSORBERS = 0.025, 0.1, 0.4, 3
_L1 = 0.01  # By the mean log-loss.


class Absorption(NamedTuple):
    """How far a class is absorbed.

    Attributes:
      fraction: mean over examples.
      full: share of examples.
      main: which latents stand for the class.
      examples: how many examples of the class the probe told right.
    """

    fraction: float
    full: float
    main: list[int]
    examples: int


def main_latents(
    codes: np.ndarray, label: np.ndarray, jump: float = 0.03, most: int = 10
) -> list[int]:
    """Returns the latents that stand for a class: as many as each raise the F1 of a probe.

    Latents are ordered by the weights of an L1 logistic regression on all of them; the k-th counts,
    with those before it, if F1 with k is above that of the last that counted by more than `jump`.

    Args:
      codes: `[n, d_sae]`.
      label: bool `[n]`.
      jump: how much F1 must rise.
      most: how many latents are tried.
    """
    scaled = codes / (np.sqrt((codes**2).mean()) or 1.0)
    strength = 1 / (_L1 * len(codes))
    sparse = linear_model.LogisticRegression(
        C=strength, l1_ratio=1.0, solver="liblinear", random_state=0
    ).fit(scaled, label)
    order = np.argsort(-sparse.coef_[0], kind="stable")[:most]
    kept, best = 1, 0.0
    for k in range(1, len(order) + 1):
        model = linear_model.LogisticRegression(max_iter=1000).fit(scaled[:, order[:k]], label)
        f1 = metrics.f1_score(label, model.predict(scaled[:, order[:k]]), zero_division=0.0)
        if k == 1 or f1 > best + jump:
            kept, best = k, f1
    return [int(latent) for latent in order[:kept]]


def of_class(
    x: np.ndarray, codes: np.ndarray, label: np.ndarray, w_dec: np.ndarray, main: list[int]
) -> Absorption:
    """Returns how far other latents speak for a class where its own are silent.

    Args:
      x: `[n, d_in]`, activations.
      codes: `[n, d_sae]`, of the same examples.
      label: bool `[n]`, which are of the class.
      w_dec: `[d_sae, d_in]`, decoder rows.
      main: the class's own latents, from `main_latents` on other examples.

    Raises:
      DataError: the probe tells no example of the class right.
    """
    spread = np.sqrt(((x - x.mean(axis=0)) ** 2).mean()) or 1.0
    fitted = linear_model.LogisticRegression(max_iter=1000).fit(x / spread, label)
    told = label & fitted.predict(x / spread)
    if not told.any():
        raise errors.DataError("the probe tells no example of the class: there is none to absorb")
    probe = dictionaries.unit(fitted.coef_)[0]
    along = np.asarray(w_dec, np.float64) @ probe
    cosines = dictionaries.unit(w_dec) @ probe
    shares, projections = codes[told] * along[None], x[told] @ probe
    return Absorption(
        fraction=float(_fraction(shares, projections, cosines, main).mean()),
        full=float(_full(codes[told], shares, projections, cosines, main).mean()),
        main=main,
        examples=int(told.sum()),
    )


def _full(
    codes: np.ndarray, shares: np.ndarray, projections: np.ndarray, cosines: np.ndarray, main: list
) -> np.ndarray:
    """Returns which examples are absorbed by one latent, bool `[n]`."""
    silent = (np.abs(codes[:, main]) < 1e-8).all(axis=1)
    first = shares.argmax(axis=1)
    enough = shares.max(axis=1) >= _PROPORTION * projections
    return silent & (cosines[first] >= _FULL_COSINE) & (projections > 0) & enough


def _fraction(
    shares: np.ndarray, projections: np.ndarray, cosines: np.ndarray, main: list
) -> np.ndarray:
    """Returns how far each example is absorbed, `[n]`."""
    own = shares[:, main].sum(axis=1)
    may_absorb = cosines >= _FRACTION_COSINE
    may_absorb[main] = False
    others = np.maximum(shares[:, may_absorb], 0)
    absorbed = np.sort(others, axis=1)[:, -_ABSORBERS:].sum(axis=1)
    taken = np.minimum(absorbed, projections - own)
    share = taken / np.where(taken + own > 0, taken + own, 1)
    share = np.where(own <= 0, 1.0, np.clip(share, 0, 1))
    return np.where((own >= projections) | (absorbed < _PROPORTION * projections), 0.0, share)
