"""What a language model has at the ends of words whose class is known.

A word may be of several tokens; only at its last one the model has read all of it, so there its
activation is taken for the word. Special tokens and outliers are left out, as in training.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from sae_jax.data import corpus
from sae_jax.lm import base as lm
from sae_jax.text import base as text

_AHEAD = 12  # Letters that a tokenizer may have passed over.


@dataclasses.dataclass(frozen=True)
class Words:
    """Words, in the order of documents.

    Attributes:
      x: float32 `[n, width]`, activations, of several sites one behind the other.
      label: int32 `[n]`, the class of each word.
      document: int32 `[n]`, the text it is in.
    """

    x: np.ndarray
    label: np.ndarray
    document: np.ndarray


def read(
    model: lm.LanguageModel,
    texts: text.Texts,
    sites: Sequence[str],
    documents: int,
    length: int,
    largest: float = float("inf"),
    batch_size: int = 16,
) -> Words:
    """Returns the words of some documents.

    Args:
      model: that reads.
      texts: with classes of words.
      sites: where.
      documents: how many are read, in an order of their own.
      length: tokens of the longest sequence.
      largest: norm at the first site, above which an activation is an outlier.
      batch_size: of the longest sequences, that are read at once.
    """
    found = corpus.cut(model, texts.documents, length, documents, held_out=0).sequences
    label = classes(model.tokenizer, found.ids, found.lengths, found.documents, texts)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for rows, ids, mask in corpus.batches(found, range(len(found.ids)), batch_size):
        run = model.run(ids, mask, capture=tuple(sites), logits=False)
        captured = [np.asarray(run.captured[site], np.float32)[: len(rows)] for site in sites]
        of = label[rows, : ids.shape[1]]
        usual = mask[: len(rows)] & ~corpus.special(model.tokenizer, ids)[: len(rows)] & (of >= 0)
        usual &= np.linalg.norm(captured[0], axis=-1) <= largest
        at = np.nonzero(usual)
        x = np.concatenate([array[at] for array in captured], axis=-1)
        parts.append((x, of[at], found.documents[rows[at[0]]]))
    x, label, document = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(document, kind="stable")
    return Words(x[order], label[order], document[order])


def classes(
    tokenizer: lm.Tokenizer,
    ids: np.ndarray,
    lengths: np.ndarray,
    documents: np.ndarray,
    texts: text.Texts,
) -> np.ndarray:
    """Returns int32 `[n, length]`: the class of the word that ends with a token, -1 for none.

    Tokens are found in the text one behind the other; one that is not where it should be, such as
    BOS or what the tokenizer does not know, is of none.

    Args:
      tokenizer: of the ids.
      ids: int `[n, length]`, sequences.
      lengths: int `[n]`, tokens of each.
      documents: int `[n]`, the text that each is of; those of one follow one another.
      texts: with classes of words.
    """
    assert texts.words is not None
    found = np.full(ids.shape, -1, np.int32)
    shown = {int(token): tokenizer.token_text(int(token)).strip() for token in np.unique(ids)}
    at, before = 0, -1
    for row, (length, document) in enumerate(zip(lengths, documents, strict=True)):
        if document != before:
            at, before = 0, document
        words, written = texts.words[document], texts.documents[document]
        ends = dict(zip(words.end.tolist(), words.label.tolist(), strict=True))
        for column, token in enumerate(ids[row, :length].tolist()):
            letters = shown[token]
            start = written.find(letters, at, at + _AHEAD + len(letters)) if letters else -1
            if start >= 0:
                at = start + len(letters)
                found[row, column] = ends.get(at, -1)
    return found
