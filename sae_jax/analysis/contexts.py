"""The tokens around examples of a store, and how active a latent is at each of them."""

import dataclasses

import numpy as np

from sae_jax import errors
from sae_jax.analysis import examples
from sae_jax.data import activations
from sae_jax.store import reader, sequences

GAP = -1  # In `Contexts.stream`: what follows does not follow in a text.


@dataclasses.dataclass(frozen=True)
class Contexts:
    """Pieces of text, each seen by a latent.

    Attributes:
      stream: int32 `[tokens]`, ids of all tokens of all pieces, each once, in the order of the
        store; `GAP` where some are left out.
      start: int64 `[n]`, where a piece begins in `stream`.
      length: int64 `[n]`, its tokens.
      peak: int64 `[n]`, which of its tokens is the example.
      codes: float32 `[sum of length]`, the latent's code at each token, piece after piece; 0 where
        a token is excluded from the data.
      cut: uint8 `[n]`, whether the text goes on in front of a piece, 1, behind it, 2, or both, 3.
    """

    stream: np.ndarray
    start: np.ndarray
    length: np.ndarray
    peak: np.ndarray
    codes: np.ndarray
    cut: np.ndarray


def around(
    data: activations.Activations,
    encode: examples.Encode,
    rows: np.ndarray,
    latents: np.ndarray,
    before: int,
    after: int,
    batch_size: int = 1024,
    bos: int | None = None,
) -> Contexts:
    """Returns the text around examples; a piece ends where its sequence does.

    Args:
      data: rows of tokens.
      encode: from numbers of examples to codes.
      rows: int `[n]`, numbers of examples.
      latents: int `[n]`, which latent looks at each.
      before: tokens in front of the example.
      after: tokens behind it.
      batch_size: examples that are encoded at once.
      bos: id of the token that begins a sequence, which is no text that could be cut; None for
        none.

    Raises:
      DataError: the rows of a store are of no tokens.
    """
    lengths = [kept.length for kept in data.kept]
    firsts = np.concatenate([[0], np.cumsum(lengths)])
    # Places number the tokens of all stores one store behind the other, with a gap between.
    ends = np.cumsum([sum(store.plan.shards) + 1 for store in data.stores])
    offsets = np.concatenate([[0], ends])
    start, place, stop = (np.zeros(len(rows), np.int64) for _ in range(3))
    cut = np.zeros(len(rows), np.uint8)
    for number, (store, kept) in enumerate(zip(data.stores, data.kept, strict=True)):
        found = _sequences(store)
        mine = np.flatnonzero((rows >= firsts[number]) & (rows < firsts[number + 1]))
        there = kept.rows(rows[mine] - firsts[number])
        sequence, _ = found.places(there)
        place[mine] = offsets[number] + there
        start[mine] = offsets[number] + np.maximum(there - before, found.starts[sequence])
        stop[mine] = offsets[number] + np.minimum(there + after + 1, found.starts[sequence + 1])
        # A document of several sequences goes on where one of them ends.
        same = np.concatenate([[False], np.diff(found.documents) == 0, [False]])
        text = found.starts[sequence] + (found.ids[sequence, 0] == (-1 if bos is None else bos))
        in_front = same[sequence] | (there - before > text)
        behind = same[sequence + 1] | (there + after + 1 < found.starts[sequence + 1])
        cut[mine] = in_front + 2 * behind
    length = stop - start
    ends = np.cumsum(length)
    places = np.repeat(start - (ends - length), length) + np.arange(length.sum())
    unique = np.unique(places)
    tokens = np.zeros(len(unique), np.int32)
    index = np.zeros(len(unique), np.int64)
    for number, (store, kept) in enumerate(zip(data.stores, data.kept, strict=True)):
        own = slice(*np.searchsorted(unique, offsets[number : number + 2]))
        there = unique[own] - offsets[number]
        tokens[own] = _sequences(store).tokens(there)
        known = kept.index(there)
        index[own] = np.where(known < 0, -1, known + firsts[number])
    row = index[np.searchsorted(unique, places)]
    codes = np.zeros(len(row), np.float32)
    measured = row >= 0
    codes[measured] = examples.look_up(
        encode, data.length, row[measured], np.repeat(latents, length)[measured], batch_size
    )
    gaps = np.flatnonzero(np.diff(unique) > 1) + 1
    start_in = np.searchsorted(unique, start)
    moved = start_in + np.searchsorted(gaps, start_in, side="right")
    return Contexts(np.insert(tokens, gaps, GAP), moved, length, place - start, codes, cut)


def _sequences(store: reader.Store) -> sequences.Sequences:
    if store.sequences is None:
        raise errors.DataError(f"the rows of {store.folder} are of no tokens")
    return store.sequences
