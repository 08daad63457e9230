"""Events that happen together: a Gaussian copula of low rank.

  z = sqrt(d) e + F s,   event i where z_i > t_i = Phi^-1(1 - p_i);   e, s ~ N(0, 1)

with d_i = 1 - sum_j F_ij^2, so that z_i ~ N(0, 1) and event i has probability p_i whatever F is.
Given s, which all events share, they are independent, and i has probability

  Phi((F_i . s - t_i) / sqrt(d_i)):

one uniform number for each event then decides it, and events nobody asks for need not be drawn.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np
from scipy import special

_MOST = 0.99  # Of the variance of an event, that which it may share.


class Copula(NamedTuple):
    """What `scores` needs: `weight` float32 `[n, rank]` and `offset` float32 `[n]`."""

    weight: np.ndarray
    offset: np.ndarray


def factors(draw: np.random.RandomState, n: int, rank: int, scale: float) -> np.ndarray:
    """Returns F, float64 `[n, rank]`: `scale` times normal numbers.

    All are made smaller where an event would share more than 0.99 of its variance.
    """
    found = scale * draw.standard_normal((n, rank))
    shared = (found**2).sum(axis=1).max()
    return found * np.sqrt(_MOST / shared) if shared > _MOST else found


def make(probabilities: np.ndarray, factor: np.ndarray) -> Copula:
    """Returns the copula of events.

    Args:
      probabilities: `[n]`, of each; 1 is one that always happens.
      factor: F, `[n, rank]`, of rows whose squares sum to less than 1.
    """
    own = np.sqrt(1 - (factor**2).sum(axis=1))
    weight = factor / own[:, None]
    offset = special.ndtri(1 - probabilities) / own
    return Copula(np.asarray(weight, np.float32), np.asarray(offset, np.float32))


def scores(copula: Copula, shared: Float[Array, " rank"]) -> Float[Array, " n"]:
    """Returns, given s, the normal quantile of each event's probability: `chance` undoes it."""
    return copula.weight @ shared - copula.offset


def chance(score: Float[Array, "*some"]) -> Float[Array, "*some"]:
    """Returns `Phi(score)`."""
    return 0.5 * lax.erfc(-score * 0.5**0.5)


def uniform(key: Array, n: int) -> Float[Array, " n"]:
    """Returns numbers from 0 to 1 that are exact to 2^-32: events may be rarer than 2^-23."""
    return (jax.random.bits(key, (n,)).astype(jnp.float32) + 0.5) * 2.0**-32


def normal(quantile: Float[Array, "*some"]) -> Float[Array, "*some"]:
    """Returns `Phi^-1(quantile)`."""
    return 2**0.5 * lax.erf_inv(2 * quantile - 1)
