"""The interface to a language model: tokens in; logits, activations and losses out.

A site is where an activation can be read and changed, named by kind and block, such as
`resid_post.3`; `x` is the residual stream:

  resid_pre.i    x, what block i reads                               [d_model]
  z.i            heads side by side, before their output matrix      [n_heads d_head]
  attn_out.i     what attention adds to x                            [d_model]
  resid_mid.i    x + attn_out
  mlp_in.i       what the MLP reads: x normalised                    [d_model]
  mlp_hidden.i   its hidden units, after gate and nonlinearity       [d_mlp]
  mlp_out.i      what the MLP adds to x                              [d_model]
  resid_post.i   x + attn_out + mlp_out, what block i + 1 reads

The file of a model has `load(...) -> LanguageModel`. Batches may be padded at the left or at the
right; no token sees padding, and positions count tokens only.
"""

import abc
from collections.abc import Collection, Mapping, Sequence
import dataclasses
import itertools
from typing import Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.lm import edit

KINDS = (
    "resid_pre",
    "z",
    "attn_out",
    "resid_mid",
    "mlp_in",
    "mlp_hidden",
    "mlp_out",
    "resid_post",
)

Edits = Mapping[str, edit.Edit]
Ints = np.ndarray | jax.Array


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back.

    Attributes:
      bos: id of the token that begins a text, or None.
      eos: id of the token that ends one, or None.
      pad: id of the token that fills up a row, or None.
      starts_with_bos: whether the model was trained with `bos` before each text.
    """

    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int | None: ...
    @property
    def pad(self) -> int | None: ...
    @property
    def starts_with_bos(self) -> bool: ...

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without `bos` and `eos`."""

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of ids."""

    def token_text(self, token: int) -> str:
        """Returns one token as it stands in a text, with the space before it, to be shown."""


@flax.struct.dataclass
class Run:
    """What one forward pass gave.

    Attributes:
      logits: float32 `[batch, length, vocab]`, or None if they were not asked for.
      captured: `[batch, length, width]` by site, after an edit there, in the model's type; what
        stands at padding means nothing.
    """

    logits: jax.Array | None
    captured: dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class LanguageModel(abc.ABC):
    """A causal language model with its tokenizer.

    Attributes:
      name: in messages and manifests.
      n_layers: blocks.
      d_model: numbers in the residual stream.
      vocab: tokens it knows.
      context: most tokens in a row.
      tokenizer: what makes its tokens.
    """

    name: str
    n_layers: int
    d_model: int
    vocab: int
    context: int
    tokenizer: Tokenizer

    @property
    @abc.abstractmethod
    def widths(self) -> Mapping[str, int]:
        """Numbers at each site, by its name, in the order of blocks."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Returns what tells these weights from others: a checksum of their bytes."""

    def put(self, sharding: jax.sharding.Sharding) -> "LanguageModel":
        """Returns the model with its parameters laid so; one that is not of JAX stays as it is."""
        del sharding
        return self

    @abc.abstractmethod
    def _run(
        self, ids: Ints, mask: Ints, capture: tuple[str, ...], edits: Edits, logits: bool
    ) -> Run:
        """Runs on what has been checked."""

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all sites."""
        return tuple(self.widths)

    def width(self, site: str) -> int:
        """Returns how many numbers the activation at a site has."""
        self.check_sites([site])
        return self.widths[site]

    def run(
        self,
        ids: Ints,
        mask: Ints | None = None,
        capture: Sequence[str] = (),
        edits: Edits | None = None,
        logits: bool = True,
    ) -> Run:
        """Runs the model on a batch; compiled once for each shape and set of sites.

        Args:
          ids: int `[batch, length]`.
          mask: bool or 0 and 1 `[batch, length]`, true for tokens; None: all are.
          capture: sites whose activations are wanted.
          edits: by site.
          logits: whether they are wanted; without them blocks after the last captured are skipped.

        Raises:
          errors.UserError: if a site is not one of the model's, or shapes do not fit.
        """
        edits = {} if edits is None else edits
        self.check_sites([*capture, *edits])
        mask = self.check_batch(ids, mask)
        run = self._run(ids, mask, tuple(dict.fromkeys(capture)), dict(edits), logits)
        # `jit` sorts dicts.
        return Run(run.logits, {site: run.captured[site] for site in capture})

    def targets(self, ids: Ints, mask: Ints | None = None) -> jax.Array:
        """Returns float32 `[batch, length - 1]`: 1 where a token is predicted from one before it.

        0 is where either of them is padding, and where the token predicted is BOS, which no text
        leads to.
        """
        mask = jnp.asarray(self.check_batch(ids, mask), bool)
        counted = mask[:, 1:] & mask[:, :-1]
        if self.tokenizer.bos is not None:
            counted &= jnp.asarray(ids)[:, 1:] != self.tokenizer.bos
        return counted.astype(jnp.float32)

    def losses(self, logits: jax.Array, ids: Ints, mask: Ints | None = None) -> jax.Array:
        """Returns float32 `[batch, length - 1]`, the negative log likelihood of each next token.

        In nats. 0 where `targets` is 0, so the mean is the sum over that of `targets`.
        """
        return jnp.where(self.targets(ids, mask) > 0, _surprise(logits, jnp.asarray(ids)), 0.0)

    def batch(self, texts: Sequence[str], length: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns texts as ids and mask, int32 and bool `[batch, length]`, padded at the right.

        Args:
          texts: one a row; BOS is put before each if the model was trained so.
          length: of a row, what is longer is cut; 0: that of the longest, at most the context.
        """
        tokenizer = self.tokenizer
        first = [tokenizer.bos] if tokenizer.starts_with_bos and tokenizer.bos is not None else []
        rows = [[*first, *tokenizer.encode(text)] for text in texts]
        length = length or min(max(map(len, rows), default=0), self.context)
        ids = np.full((len(rows), length), tokenizer.pad or 0, np.int32)
        mask = np.zeros((len(rows), length), bool)
        for i, row in enumerate(rows):
            n = min(len(row), length)
            ids[i, :n], mask[i, :n] = row[:n], True
        return ids, mask

    def check_sites(self, names: Collection[str]) -> None:
        """Raises if one of the names is not a site of the model."""
        for name in names:
            if name not in self.widths:
                raise errors.UserError(
                    f"{name!r} is no site of {self.name}, whose sites are {_summary(self.sites)}"
                )

    def check_batch(self, ids: Ints, mask: Ints | None) -> Ints:
        """Returns the mask, all true if there is none; raises if ids or mask cannot be."""
        if ids.ndim != 2:
            raise errors.UserError(f"ids have shape {ids.shape}, not [batch, length]")
        if ids.shape[1] > self.context:
            raise errors.UserError(
                f"{self.name} reads at most {self.context} tokens, not {ids.shape[1]}"
            )
        if (
            isinstance(ids, np.ndarray)
            and ids.size
            and not 0 <= ids.min() <= ids.max() < self.vocab
        ):
            raise errors.UserError(
                f"ids from {ids.min()} to {ids.max()}: those of {self.name} are 0 to "
                f"{self.vocab - 1}; use its tokenizer"
            )
        if mask is None:
            return np.ones(ids.shape, bool)
        if mask.shape != ids.shape:
            raise errors.UserError(f"mask has shape {mask.shape}, not that of ids, {ids.shape}")
        return mask


def split(site: str) -> tuple[str, int]:
    """Returns kind and block of a site."""
    kind, _, block = site.rpartition(".")
    return kind, int(block)


def place(mask: Ints) -> edit.Place:
    """Returns where the tokens stand that a mask `[batch, length]` shows."""
    tokens = jnp.asarray(mask, bool)
    positions = jnp.maximum(jnp.cumsum(tokens, axis=1, dtype=jnp.int32) - 1, 0)
    return edit.Place(tokens, positions)


@jax.jit
def _surprise(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """Returns float32 `[batch, length - 1]`, -log p of each token after the first."""
    logits = logits[:, :-1].astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, ids[:, 1:, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def _summary(sites: Sequence[str]) -> str:
    """Returns sites in a few words: the blocks of a kind as a range."""
    blocks: dict[str, list[int]] = {}
    for site in sites:
        kind, block = split(site)
        blocks.setdefault(kind, []).append(block)
    return ", ".join(f"{kind}.{_ranges(found)}" for kind, found in blocks.items())


def _ranges(numbers: Sequence[int]) -> str:
    """Returns "0-3,5" for 0, 1, 2, 3 and 5."""
    parts = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        parts.append(f"{found[0]}-{found[-1]}" if len(found) > 1 else str(found[0]))
    return ",".join(parts)
