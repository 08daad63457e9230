"""How alike two dictionaries are, and how one is made: rows are features, `[n, d]`, of any norm.

All cosines are of rows scaled to norm 1, in float64; a row of zeros has cosine 0 with everything.
"Learned" is the dictionary of a model, "true" what generated the data, or another model's.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from sae_jax import errors

_ROWS = 4096  # Of a matrix of cosines that is not wanted whole.


def cosines(learned: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns the cosines of all pairs, `[n_learned, n_true]`."""
    if learned.shape[1] != true.shape[1]:
        raise errors.DataError(
            f"rows of {learned.shape[1]} and of {true.shape[1]} numbers cannot be compared"
        )
    return unit(learned) @ unit(true).T


def unit(rows: np.ndarray) -> np.ndarray:
    """Returns rows scaled to norm 1; rows of zeros as they are."""
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def mmcs(learned: np.ndarray, true: np.ndarray) -> float:
    """Returns the mean, over true features, of the largest cosine with a learned one.

    Signed and not symmetric (Sharkey et al. 2022): the other way round it asks whether everything
    that was learned is true. A larger dictionary has a larger MMCS, whatever is in it.
    """
    return float(cosines(learned, true).max(axis=0).mean())


class Matching(NamedTuple):
    """Pairs of rows of two dictionaries, as many as the smaller one has; in each a row occurs once.

    Attributes:
      learned: int64 `[n]`, rows of the one, in their order.
      true: int64 `[n]`, their partners in the other.
      cosine: float64 `[n]`, |cosine| of each pair.
    """

    learned: np.ndarray
    true: np.ndarray
    cosine: np.ndarray


def one_to_one(learned: np.ndarray, true: np.ndarray) -> Matching:
    """Returns the matching of largest mean |cosine| (the Hungarian one)."""
    found = np.abs(cosines(learned, true))
    rows, partners = optimize.linear_sum_assignment(found, maximize=True)
    return Matching(rows, partners, found[rows, partners])


def mcc(learned: np.ndarray, true: np.ndarray) -> float:
    """Returns the mean |cosine| of the best one-to-one matching, over the smaller dictionary.

    Of random dictionaries it is not 0: compare with one.
    """
    return float(one_to_one(learned, true).cosine.mean())


def shared(matchings: Sequence[Matching], above: float = 0.7) -> float:
    """Returns the share of latents that two runs have in common, of those of the smaller one.

    Such a latent has the same partner in each matching, and each time a |cosine| above `above`:
    with one matching of decoders and one of encoders, after Paulo & Belrose 2025 (arXiv
    2501.16615).

    Args:
      matchings: of the same latents of two runs, each by other weights.
      above: from 0 to 1.
    """
    first = matchings[0]
    common = np.ones(len(first.cosine), bool)
    for each in matchings:
        common &= (each.learned == first.learned) & (each.true == first.true)
        common &= each.cosine > above
    return float(common.mean())


def matched(learned: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns the true feature of largest |cosine|, int64 `[n_learned]`, for each learned one."""
    return np.abs(cosines(learned, true)).argmax(axis=1)


def uniqueness(learned: np.ndarray, true: np.ndarray) -> float:
    """Returns how many true features are the nearest of some learned one, as a share of those."""
    return len(np.unique(matched(learned, true))) / len(learned)


def recovered(learned: np.ndarray, true: np.ndarray, above: float = 0.8) -> float:
    """Returns the share of true features to which a learned one has a cosine above `above`."""
    return float((cosines(learned, true).max(axis=0) > above).mean())


def atoms_recovered(learned: np.ndarray, true: np.ndarray, within: float = 0.01) -> int:
    """Returns the number of true features with `1 - |cosine|` below `within` (K-SVD, 2006)."""
    return int((1 - np.abs(cosines(learned, true)).max(axis=0) < within).sum())


def c_dec(rows: np.ndarray) -> float:
    """Returns the mean |cosine| of two different rows.

    Least where the dictionary is that of the data, if their features are nearly orthogonal: an L0
    too low or too high mixes them (Chanin et al. 2025, arXiv 2508.16560).
    """
    n = len(rows)
    return float(sum(np.nansum(np.abs(part)) for part in _with_others(rows)) / max(n * (n - 1), 1))


def composition_rate(rows: np.ndarray) -> float:
    """Returns the mean, over rows, of the largest cosine with another (arXiv 2509.22033)."""
    return float(np.concatenate([np.nanmax(p, axis=1) for p in _with_others(rows)]).mean())


def coherence(rows: np.ndarray) -> float:
    """Returns mu, the largest |cosine| of two different rows.

    Without noise, codes of fewer than (1 + 1 / mu) / 2 active latents are the only ones so sparse
    (Donoho & Elad 2003).
    """
    return float(max(np.nanmax(np.abs(part)) for part in _with_others(rows)))


def effective_rank(rows: np.ndarray) -> float:
    """Returns `exp(-sum_i p_i log p_i)` of directions, p their singular values by their sum.

    From 1, all rows parallel, to d, all directions of space as important (Roy & Vetterli 2007).
    """
    directions = unit(rows)
    squares = np.linalg.eigvalsh(directions.T @ directions)
    sizes = np.sqrt(np.maximum(squares, 0))
    shares = sizes / sizes.sum() if sizes.any() else np.ones(1)
    return float(np.exp(-np.sum(shares * np.log(np.where(shares > 0, shares, 1)))))


def asymmetry(w_enc: np.ndarray, w_dec: np.ndarray) -> np.ndarray:
    """Returns `1 - cosine` of each latent's encoder and decoder direction, `[d_sae]`.

    Large where a latent reacts to other things than it writes, as in hedging and absorption.

    Args:
      w_enc: `[d_in, d_sae]`.
      w_dec: `[d_sae, d_in]`.
    """
    return 1 - (unit(w_enc.T) * unit(w_dec)).sum(axis=1)


def s_dec(x: np.ndarray, w_dec: np.ndarray, b_dec: np.ndarray, n: int) -> float:
    """Returns the `n * batch`-th largest projection of a batch on the decoder's directions.

    With n about half of d_sae: where features are mixed the tail of projections is heavier, so
    that it is least at the true L0 (Chanin et al. 2025).

    Args:
      x: `[batch, d_in]`.
      w_dec: `[d_sae, d_in]`.
      b_dec: `[d_in]`.
      n: latents for each example that are looked past, from 1 to d_sae.
    """
    if not 1 <= n <= len(w_dec):
        raise errors.DataError(f"n={n}: it must be from 1 to {len(w_dec)} latents")
    shown = ((np.asarray(x, np.float64) - b_dec) @ np.asarray(w_dec, np.float64).T).ravel()
    place = shown.size - n * len(x)
    return float(np.partition(shown, place)[place])


def _with_others(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the cosines of some rows with all others, NaN with themselves, until none is left."""
    directions = unit(rows)
    for start in range(0, len(rows), _ROWS):
        part = directions[start : start + _ROWS] @ directions.T
        place = np.arange(len(part))
        part[place, start + place] = np.nan
        yield part
