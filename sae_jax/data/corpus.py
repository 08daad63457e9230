"""Texts as the sequences that a language model reads, and as batches of them.

Documents come in an order that a seed decides; the last of them are held out, whole, as "valid" and
"test". Each is cut into sequences of at most `length` tokens, each with its own BOS if the model
knows one. The first token of a sequence and BOS, EOS and padding tokens are special: they have
activations unlike all others (attention sinks), and no training sees them.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

import numpy as np

from sae_jax import errors
from sae_jax.data import base
from sae_jax.lm import base as lm
from sae_jax.store import sequences as token_sequences

_WIDTHS = 4  # Of batches: each is a program to compile, and saves the reading of padding.


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens, and which of them belong to which split.

    Attributes:
      sequences: all tokens.
      splits: sequences of each split, by name, in the order in which they lie.
    """

    sequences: token_sequences.Sequences
    splits: Mapping[str, int]


def cut(
    model: lm.LanguageModel,
    documents: Sequence[str],
    length: int,
    most: int = 0,
    held_out: float = 0.05,
    seed: int = 0,
) -> Corpus:
    """Returns the tokens of texts.

    Args:
      model: whose tokens.
      documents: texts.
      length: tokens of the longest sequence.
      most: how many of them are read; 0 for all.
      held_out: share of documents that are "valid", and again that are "test"; 0 for neither.
      seed: of the order of documents, and so of the splits.

    Raises:
      UserError: the model does not read so many tokens, or a split would be empty.
    """
    if not 2 <= length <= model.context:
        raise errors.UserError(
            f"length={length}: {model.name} reads sequences of 2 to {model.context} tokens"
        )
    order = base.shuffled(len(documents), seed)[: most or None]
    aside = round(held_out * len(order))
    ends = [len(order) - 2 * aside, len(order) - aside] if aside else []
    parts = dict(zip(("train", "valid", "test"), np.split(order, ends), strict=False))
    found: list[np.ndarray] = []
    of: list[int] = []
    splits = {}
    for split, chosen in parts.items():
        before = len(found)
        for document in chosen:
            pieces = _pieces(model.tokenizer, documents[document], length)
            found += pieces
            of += [int(document)] * len(pieces)
        splits[split] = len(found) - before
    if empty := [split for split, count in splits.items() if not count]:
        raise errors.UserError(
            f"{len(order)} documents leave nothing for {', '.join(empty)}: give more, or another "
            "held_out"
        )
    ids = np.zeros((len(found), length), np.int32)
    for row, piece in zip(ids, found, strict=True):
        row[: len(piece)] = piece
    lengths = np.array([len(piece) for piece in found], np.int32)
    return Corpus(token_sequences.Sequences(ids, lengths, np.array(of, np.int32)), splits)


def special(tokenizer: lm.Tokenizer, ids: np.ndarray) -> np.ndarray:
    """Returns where `[rows, length]` holds the first token of a row, BOS, EOS or padding."""
    signs = [sign for sign in (tokenizer.bos, tokenizer.eos, tokenizer.pad) if sign is not None]
    found = np.isin(ids, signs)
    found[:, 0] = True
    return found


def batches(
    found: token_sequences.Sequences, sequences: Sequence[int] | np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields the numbers of sequences, and their ids and mask, int32 and bool `[rows, columns]`.

    Sequences of like lengths come together, in a quarter, a half, three quarters or all of the
    longest's columns, and as many as fill the places of `size` of the longest. A last batch has
    more rows than sequences; those hold one token, so that no row is empty.
    """
    longest = found.ids.shape[1]
    step = -(-longest // _WIDTHS)
    numbers = np.asarray(sequences, np.int64)
    widths = np.minimum(-(-found.lengths[numbers] // step) * step, longest)
    for width in np.unique(widths):
        rows = size * longest // width
        of_width = numbers[widths == width]
        for first in range(0, len(of_width), rows):
            read = of_width[first : first + rows]
            ids, mask = np.zeros((rows, width), np.int32), np.zeros((rows, width), bool)
            mask[:, 0] = True
            mask[: len(read)] = np.arange(width) < found.lengths[read][:, None]
            ids[: len(read)] = np.where(mask[: len(read)], found.ids[read, :width], 0)
            yield read, ids, mask


def _pieces(tokenizer: lm.Tokenizer, document: str, length: int) -> list[np.ndarray]:
    """Returns a document as sequences; one of a single token says nothing and is left out."""
    first = [tokenizer.bos] if tokenizer.starts_with_bos and tokenizer.bos is not None else []
    ids, step = tokenizer.encode(document), length - len(first)
    pieces = [[*first, *ids[start : start + step]] for start in range(0, len(ids), step)]
    return [np.array(piece, np.int32) for piece in pieces if len(piece) > 1 + len(first)]
