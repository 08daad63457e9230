"""Tokenizers of the package `tokenizers`, behind the interface."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """A tokenizer, with what it does not know of itself.

    Attributes:
      tokenizer: `tokenizers.Tokenizer`.
      bos: id of the token that begins a text, or None.
      eos: id of the token that ends one, or None.
      pad: id of the token that fills up a row, or None.
      starts_with_bos: whether the model was trained with `bos` before each text.
    """

    tokenizer: Any
    bos: int | None
    eos: int | None
    pad: int | None
    starts_with_bos: bool

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without `bos` and `eos`."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def token_text(self, token: int) -> str:
        """Returns one token as it stands in a text, with the space before it."""
        piece = self.tokenizer.id_to_token(int(token))
        if piece is None:
            return ""
        # Of a text, decoders of the SentencePiece kind drop the first space.
        return piece.replace("▁", " ") if "▁" in piece else self.decode([token])
