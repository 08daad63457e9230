"""What a corpus is: documents, perhaps each of a class, perhaps each word of one."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from sae_jax import errors


@dataclasses.dataclass(frozen=True)
class Words:
    """The words of a document.

    Attributes:
      start: int32 `[words]`, the letter each begins with.
      end: int32 `[words]`, the letter behind it.
      label: int32 `[words]`, its class, -1 for none.
    """

    start: np.ndarray
    end: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class Texts:
    """Documents.

    Attributes:
      name: of the corpus.
      documents: each a text.
      label: int32 `[documents]`, the class of each, -1 for none; or None, where there are none.
      classes: what classes are called, in the order of their numbers.
      words: of each document, if they are known.
      word_classes: what classes of words are called, in the order of their numbers.
    """

    name: str
    documents: Sequence[str]
    label: np.ndarray | None = None
    classes: Sequence[str] = ()
    words: Sequence[Words] | None = None
    word_classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuses what has no text in it."""
        if not any(self.documents):
            raise errors.DataError(f"{self.name} has no text in it")
        if self.label is not None and len(self.label) != len(self.documents):
            raise errors.DataError(
                f"{self.name}: {len(self.documents)} documents but {len(self.label)} labels"
            )
