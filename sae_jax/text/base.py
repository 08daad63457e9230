"""What a corpus is: documents, perhaps each of a class."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from sae_jax import errors


@dataclasses.dataclass(frozen=True)
class Texts:
    """Documents.

    Attributes:
      name: of the corpus.
      documents: each a text.
      label: int32 `[documents]`, the class of each, -1 for none; or None, where there are none.
      classes: what classes are called, in the order of their numbers.
    """

    name: str
    documents: Sequence[str]
    label: np.ndarray | None = None
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuses what has no text in it."""
        if not any(self.documents):
            raise errors.DataError(f"{self.name} has no text in it")
        if self.label is not None and len(self.label) != len(self.documents):
            raise errors.DataError(
                f"{self.name}: {len(self.documents)} documents but {len(self.label)} labels"
            )
