"""What makes each latent active, over a whole data set, in memory for what is kept.

The data are walked twice, batch after batch. The first walk finds, for each latent,

  top        the n examples with the highest codes; of equals the earlier
  count      examples whose code is above 0; a code below 0 counts as not active
  total      the sum of these codes

and the second, now that each latent's highest code is known, divides the range up to it evenly:

  histogram  in each of `bins` parts, how many codes above 0
  samples    in each of `bands` parts, `each` examples drawn by chance (as Bricken et al. 2023,
             "Towards Monosemanticity", look at intervals of a latent's activation)

A latent's highest examples show what it is at its strongest only; the others what it mostly is.
The draw takes those of the smallest hash of (seed, example, latent), and sums are made example
after example with the rounding errors added up beside them (Knuth's two-sum), so the cut into
batches changes nothing, but for the last bits of what the model computes. Only codes above 0 are
sorted, and what is kept is `[d_sae, top + bands each + bins]` numbers however many examples there
are.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from sae_jax.data import base
from sae_jax.ops import murmur

# From the numbers of examples, int32 `[batch]`, to their codes, `[batch, d_sae]`.
Encode = Callable[[np.ndarray], jax.Array]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is kept of each latent.

    Attributes:
      top: examples of the highest codes.
      bands: equal parts of the range of codes that examples are drawn from.
      each: examples drawn from a band.
      bins: of the histogram.
      seed: of the draw.
    """

    top: int = 12
    bands: int = 5
    each: int = 3
    bins: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be."""
        for name in ("top", "bands", "each", "bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed}: it must be from 0 to {2**32 - 1}")


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found, of each latent; a place that no example takes has row -1 and value 0.

    Attributes:
      rows: examples that were seen.
      top_value: float32 `[d_sae, top]`, falling.
      top_row: int32 `[d_sae, top]`, the numbers of these examples.
      sample_value: float32 `[d_sae, bands, each]`, the lowest band first.
      sample_row: int32 `[d_sae, bands, each]`.
      histogram: int32 `[d_sae, bins]`, from 0 to `largest`.
      count: int32 `[d_sae]`.
      total: float64 `[d_sae]`.
    """

    rows: int
    top_value: np.ndarray
    top_row: np.ndarray
    sample_value: np.ndarray
    sample_row: np.ndarray
    histogram: np.ndarray
    count: np.ndarray
    total: np.ndarray

    @property
    def largest(self) -> np.ndarray:
        """float32 `[d_sae]`, the highest code; 0 for a latent that is never active."""
        return self.top_value[:, 0]

    @property
    def density(self) -> np.ndarray:
        """float64 `[d_sae]`, the share of examples that a latent is active for."""
        return self.count / self.rows

    @property
    def mean(self) -> np.ndarray:
        """float64 `[d_sae]`, the mean code where it is above 0; 0 for a latent that never is."""
        return self.total / np.maximum(self.count, 1)


@flax.struct.dataclass
class Best:
    """The entries of the highest priority of each group, falling; of equals the earlier row first.

    Attributes:
      priority: float32 `[groups, n]`, above 0; 0 where there is none.
      value: float32 `[groups, n]`.
      row: int32 `[groups, n]`.
    """

    priority: jax.Array
    value: jax.Array
    row: jax.Array


@flax.struct.dataclass
class _First:
    """Of the first walk; `lost` is what rounding has taken from `total`."""

    top: Best
    count: jax.Array
    total: jax.Array
    lost: jax.Array


@flax.struct.dataclass
class _Second:
    """Of the second walk."""

    samples: Best
    histogram: jax.Array


def scan(encode: Encode, n: int, settings: Settings, batch_size: int = 1024) -> Found:
    """Walks over examples 0..n-1 and returns what was found.

    Args:
      encode: called with consecutive numbers, twice for each; the last batch is filled up.
      n: examples, below 2**31.
      settings: how much is kept.
      batch_size: examples at once.
    """
    first: Any = None
    for index, mask in base.batches(n, batch_size):
        codes = _positive(encode(index), mask)
        if first is None:
            d_sae = codes.shape[1]
            count = jnp.zeros(d_sae, jnp.int32)
            first = _First(empty(d_sae, settings.top), count, jnp.zeros(d_sae), jnp.zeros(d_sae))
        first = _look(first, codes, index, most=_most(codes))
    largest = first.top.value[:, 0]
    groups, bins = d_sae * settings.bands, d_sae * settings.bins
    second = _Second(empty(groups, settings.each), jnp.zeros(bins, jnp.int32))
    for index, mask in base.batches(n, batch_size):
        codes = _positive(encode(index), mask)
        second = _sort(second, codes, index, largest, settings=settings, most=_most(codes))
    shape = (d_sae, settings.bands, settings.each)
    return Found(
        rows=n,
        top_value=np.asarray(first.top.value),
        top_row=np.asarray(first.top.row),
        sample_value=np.asarray(second.samples.value).reshape(shape),
        sample_row=np.asarray(second.samples.row).reshape(shape),
        histogram=np.asarray(second.histogram).reshape(d_sae, settings.bins),
        count=np.asarray(first.count),
        total=np.asarray(first.total, np.float64) + np.asarray(first.lost, np.float64),
    )


def look_up(
    encode: Encode, n: int, rows: np.ndarray, latents: np.ndarray, batch_size: int = 1024
) -> np.ndarray:
    """Returns the codes of single latents in single examples, float32 `[pairs]`.

    Args:
      encode: as of `scan`; not called for batches that nothing is asked of.
      n: examples.
      rows: int `[pairs]`, examples.
      latents: int `[pairs]`.
      batch_size: examples at once.
    """
    order = np.argsort(rows, kind="stable")
    rising = rows[order]
    found = np.zeros(len(rows), np.float32)
    for index, _ in base.batches(n, batch_size):
        place = order[slice(*np.searchsorted(rising, [index[0], index[-1] + 1]))]
        if not len(place):
            continue
        size = _power_of_two(len(place))  # A few sizes, so a few compilations.
        pairs = np.zeros((2, size), np.int32)
        pairs[:, : len(place)] = rows[place] - index[0], latents[place]
        found[place] = np.asarray(_pick(encode(index), *pairs))[: len(place)]
    return found


def empty(groups: int, n: int) -> Best:
    """Returns no entries."""
    shape = (groups, n)
    return Best(jnp.zeros(shape), jnp.zeros(shape), jnp.full(shape, -1, jnp.int32))


def merge(
    best: Best,
    group: Int[Array, " entries"],
    priority: Float[Array, " entries"],
    value: Float[Array, " entries"],
    row: Int[Array, " entries"],
) -> Best:
    """Returns the best of what was there and of new entries.

    Args:
      best: of rows before the new ones.
      group: of each new entry; what is not below the number of groups is left out.
      priority: of each, above 0.
      value: of each.
      row: of each, not falling.
    """
    groups, n = best.row.shape
    # The sort is stable, so equals stay in the order of rows.
    entries = jnp.arange(len(group), dtype=jnp.int32)
    group, _, place = jax.lax.sort((group, -priority, entries), num_keys=2)
    starts = jnp.searchsorted(group, jnp.arange(groups + 1, dtype=group.dtype))
    slot = starts[:-1, None] + jnp.arange(n)[None]
    there = slot < starts[1:, None]
    chosen = place[jnp.minimum(slot, len(group) - 1)]
    new = Best(
        jnp.where(there, priority[chosen], 0.0),
        jnp.where(there, value[chosen], 0.0),
        jnp.where(there, row[chosen], -1),
    )
    both = jax.tree.map(lambda old, found: jnp.concatenate([old, found], axis=1), best, new)
    # Of equals top_k takes the first: what was there before.
    chosen = jax.lax.top_k(both.priority, n)[1]
    return jax.tree.map(lambda array: jnp.take_along_axis(array, chosen, axis=1), both)


@jax.jit
def _positive(codes: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns float32 codes, 0 where they are negative or of no example."""
    return jnp.where(mask[:, None] > 0, jnp.maximum(codes.astype(jnp.float32), 0.0), 0.0)


def _most(codes: jax.Array) -> int:
    """Returns a power of two that no example's active latents are more than, or all latents."""
    most = _power_of_two(max(1, int((codes > 0).sum(axis=1).max())))
    # To take half of all out of a row costs more than to sort all of them later.
    return most if 2 * most <= codes.shape[1] else codes.shape[1]


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _entries(codes: jax.Array, index: jax.Array, most: int) -> tuple[jax.Array, ...]:
    """Returns latent, value and row of the codes above 0, row after row; latent d_sae fills up."""
    d_sae = codes.shape[1]
    if most < d_sae:
        value, latent = jax.lax.top_k(codes, most)
    else:
        value, latent = codes, jnp.broadcast_to(jnp.arange(d_sae)[None], codes.shape)
    latent = jnp.where(value > 0, latent, d_sae).astype(jnp.int32)
    row = jnp.broadcast_to(jnp.asarray(index, jnp.int32)[:, None], value.shape)
    return latent.ravel(), value.ravel(), row.ravel()


@functools.partial(jax.jit, static_argnames="most", donate_argnums=0)
def _look(first: _First, codes: jax.Array, index: jax.Array, *, most: int) -> _First:
    """Adds a batch to the first walk."""
    latent, value, row = _entries(codes, index, most)

    def add(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple, None]:
        total, lost = carry
        found = total + x
        taken = found - total
        return (found, lost + ((total - (found - taken)) + (x - taken))), None

    (total, lost), _ = jax.lax.scan(add, (first.total, first.lost), codes)
    return _First(
        top=merge(first.top, latent, value, value, row),
        count=first.count + (codes > 0).sum(axis=0, dtype=jnp.int32),
        total=total,
        lost=lost,
    )


@functools.partial(jax.jit, static_argnames=("settings", "most"), donate_argnums=0)
def _sort(
    second: _Second,
    codes: jax.Array,
    index: jax.Array,
    largest: jax.Array,
    *,
    settings: Settings,
    most: int,
) -> _Second:
    """Adds a batch to the second walk."""
    latent, value, row = _entries(codes, index, most)
    d_sae, bins, bands = len(largest), settings.bins, settings.bands
    none = latent == d_sae
    share = value / jnp.where(none, 1.0, largest[jnp.minimum(latent, d_sae - 1)])
    part = jnp.minimum((share * bins).astype(jnp.int32), bins - 1)
    band = jnp.minimum((share * bands).astype(jnp.int32), bands - 1)
    group = jnp.where(none, d_sae * bands, latent * bands + band)
    place = jnp.where(none, d_sae * bins, latent * bins + part)
    priority = _chance(settings.seed, row, latent)
    return _Second(
        samples=merge(second.samples, group, priority, value, row),
        histogram=second.histogram.at[place].add(1, mode="drop"),
    )


def _chance(seed: int, row: jax.Array, latent: jax.Array) -> jax.Array:
    """Returns whole numbers from 1 to 2**24 as float32, high where the hash is low.

    The hash is that of `sae_jax/ops/murmur.py` over seed, row and latent, one after the other.
    """
    word = murmur.mix(jnp.uint32(seed))
    for part in (row, latent):
        word = murmur.mix(word + part.astype(jnp.uint32) * jnp.uint32(0x9E3779B9))
    return (jnp.uint32(2**24) - (word >> 8)).astype(jnp.float32)


@jax.jit
def _pick(codes: jax.Array, row: jax.Array, latent: jax.Array) -> jax.Array:
    return codes[row, latent].astype(jnp.float32)
