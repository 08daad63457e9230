"""Activations made while they are trained on, and kept on no disk.

Training meets the tokens of a split in windows of `buffer`: sequences come in a permutation of each
epoch, what the language model has at their tokens fills a buffer on the device, and the steps of
that window draw from it by a permutation of its own. All of it is a function of (seed, step): a run
that goes on makes the window that it was in anew.

Special tokens are left out. Which rows are outliers is known only when they have been made; the
nearest usual token before, or else behind, in the same sequence takes the place of each.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import types as python_types
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from sae_jax import errors, types
from sae_jax.data import base, corpus
from sae_jax.lm import base as lm
from sae_jax.ops import permute
from sae_jax.store import sequences as token_sequences

_SAMPLE = 64  # Sequences that tell the median norm of a site.


@dataclasses.dataclass(frozen=True, eq=False)
class Stream(base.AtSites):
    """What a language model has at the tokens of a split.

    Attributes:
      model: that reads.
      sequences: of the split.
      buffer: rows of a window; what does not fill a batch is left to the next one.
      batch_size: sequences of the longest that are read at once.
      outlier: times the median norm of a site, above which a row is one; 0 for none.
      label: None; no example is of a class.
      resident: False; rows are nowhere before they are wanted.
    """

    model: lm.LanguageModel
    sequences: token_sequences.Sequences
    buffer: int
    batch_size: int
    outlier: float
    label: None = None
    resident: bool = False

    @property
    def length(self) -> int:
        """Examples."""
        return int(self._starts[-1])

    @functools.cached_property
    def documents(self) -> np.ndarray:
        """int32 `[length]`: which text each example is of."""
        return np.repeat(self.sequences.documents, self._counts)

    @property
    def source(self) -> dict[str, np.ndarray]:
        """Nothing: examples lie nowhere."""
        return {}

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the rows at `index`; the language model reads the sequences that they are in."""
        index = np.asarray(index, np.int64)
        wanted = np.searchsorted(self._starts, index, side="right") - 1
        need = np.unique(wanted)
        firsts = np.concatenate([[0], np.cumsum(self._counts[need])])
        found = {
            site: np.zeros((firsts[-1], self.model.width(site)), np.float32) for site in self.reads
        }
        for read, kept, captured in self._read(need):
            at = firsts[np.searchsorted(need, read)][:, None] + np.cumsum(kept, axis=1) - 1
            for site, array in jax.device_get(captured).items():
                found[site][at[kept]] = array[: len(read)][kept]
        places = firsts[np.searchsorted(need, wanted)] + index - self._starts[wanted]
        return {site: array[places] for site, array in found.items()}

    def decode(self, raw: Mapping[str, jax.Array]) -> types.Batch:
        """Turns rows into what a model sees; runs on the device."""
        return self.joined({site: raw[site].astype(jnp.float32) for site in self.reads})

    def at(self, source: dict[str, jax.Array], index: jax.Array) -> types.Batch:
        """Raises: examples lie nowhere."""
        raise NotImplementedError("a stream has no rows on the device but those of a window")

    def order(self, seed: int, step: Any, batch_size: int) -> np.ndarray:
        """Returns which examples step `step` of training sees, int64; on the host only."""
        size = self.window(batch_size)
        within = base.order(seed, np.asarray(step), batch_size, size)
        stream = int(step) // (size // batch_size) * size + within.astype(np.int64)
        found = np.empty_like(stream)
        epochs = stream // self.length
        for epoch in np.unique(epochs):
            sequences, starts = self._epoch(seed, int(epoch))
            place = stream[epochs == epoch] % self.length
            number = np.searchsorted(starts, place, side="right") - 1
            found[epochs == epoch] = self._starts[sequences[number]] + place - starts[number]
        return found

    def window(self, batch_size: int) -> int:
        """Returns the rows of a window: a whole number of batches, at least one."""
        return max(self.buffer // batch_size, 1) * batch_size

    def filled(self, seed: int, number: int, batch_size: int, mesh: Mesh) -> dict[str, jax.Array]:
        """Returns the rows of a window, on every device of a mesh, `[rows, width]` by site."""
        size = self.window(batch_size)
        first = number * size
        rows = {
            site: jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
            for site, leaf in self.like(batch_size, mesh).items()
        }
        for epoch in range(first // self.length, -(-(first + size) // self.length)):
            sequences, starts = self._epoch(seed, epoch)
            starts = starts + epoch * self.length - first  # From places of the epoch to the window.
            some = (starts[:-1] < size) & (starts[1:] > 0)
            place = np.zeros(len(sequences), np.int64)
            place[sequences] = starts[:-1]
            for read, kept, captured in self._read(sequences[some], mesh):
                at = place[read][:, None] + np.cumsum(kept, axis=1) - 1
                inside = np.full(captured[self.sites[0]].shape[:2], size, np.int32)
                inside[: len(read)] = np.where(kept & (at >= 0) & (at < size), at, size)
                # On several devices of a CPU, programs that pile up can hang.
                rows = jax.block_until_ready(_put(rows, captured, inside))
        return rows

    def like(self, batch_size: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shapes, types and shardings of a window; the model reads one batch for it."""
        _, _, captured = next(self._captured(np.arange(1)))
        return {
            site: jax.ShapeDtypeStruct(
                (self.window(batch_size), array.shape[-1]), array.dtype, sharding=_whole(mesh)
            )
            for site, array in captured.items()
        }

    def put(self, mesh: Mesh) -> "Stream":
        """Returns the same with its language model on every device of a mesh."""
        return dataclasses.replace(self, model=self.model.put(_whole(mesh)))

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells these rows from others: model, tokens, sites."""
        return {
            "examples": self.length,
            "shape": list(self.spec.shape),
            "sites": list(self.reads),
            "model": self.model.fingerprint(),
            "tokens": f"{zlib.crc32(self.sequences.ids.tobytes()):08x}",
        }

    @functools.cached_property
    def largest(self) -> Mapping[str, float]:
        """The norm at each site above which a row is an outlier."""
        norms: dict[str, list[np.ndarray]] = {site: [] for site in self.reads}
        some = np.arange(min(_SAMPLE, len(self.sequences.ids)))
        for read, kept, captured in self._captured(some):
            for site, array in captured.items():
                each = np.linalg.norm(np.asarray(array[: len(read)], np.float32), axis=-1)
                norms[site].append(each[kept])
        found = {site: float(np.median(np.concatenate(each))) for site, each in norms.items()}
        limits = {s: self.outlier * m if self.outlier else np.inf for s, m in found.items()}
        return python_types.MappingProxyType(limits)

    @functools.cached_property
    def _kept(self) -> np.ndarray:
        """Bool `[sequences, length]`: tokens that are examples."""
        columns = np.arange(self.sequences.ids.shape[1])
        inside = columns < self.sequences.lengths[:, None]
        return inside & ~corpus.special(self.model.tokenizer, self.sequences.ids)

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        return self._kept.sum(axis=1)

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """int64 `[sequences + 1]`: the first example of each sequence, and behind the last."""
        return np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)])

    def _epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the sequences of an epoch in their order, and the first place of each."""
        n = len(self.sequences.ids)
        keys = permute.round_keys(seed, np.asarray(epoch))
        sequences = permute.at(keys, np.arange(n, dtype=np.uint32), n).astype(np.int64)
        return sequences, np.concatenate([[0], np.cumsum(self._counts[sequences], dtype=np.int64)])

    def _captured(
        self, numbers: np.ndarray, mesh: Mesh | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, jax.Array]]]:
        """Yields sequences, which of their tokens are examples, and what was at the sites."""
        for read, ids, mask in corpus.batches(self.sequences, numbers, self.batch_size):
            batch = [ids, mask] if mesh is None else [_shared(ids, mesh), _shared(mask, mesh)]
            run = self.model.run(batch[0], batch[1], capture=self.reads, logits=False)
            yield read, self._kept[read, : ids.shape[1]], run.captured

    def _read(
        self, numbers: np.ndarray, mesh: Mesh | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, jax.Array]]]:
        """Yields the same with usual rows in place of outliers."""
        limits = {site: np.float32(limit) for site, limit in self.largest.items()}
        for read, kept, captured in self._captured(numbers, mesh):
            whole = np.zeros(captured[self.sites[0]].shape[:2], bool)
            whole[: len(read)] = kept
            yield read, kept, _usual(captured, whole, limits)


def load(
    split: str,
    model: lm.LanguageModel,
    tokens: corpus.Corpus,
    site: str | Sequence[str],
    target: str | Sequence[str] = (),
    buffer: int = 2**17,
    batch_size: int = 16,
    outlier: float = 10.0,
) -> Stream:
    """Returns a split of a language model's activations, made when they are wanted.

    Args:
      split: "train", "valid" or "test".
      model: that reads, as the config's recipe says.
      tokens: what it reads, as the config's recipe says.
      site: by name; several are put one behind the other, as a crosscoder wants them.
      target: site or sites to be reconstructed, as a transcoder wants them; none for the input.
      buffer: rows that are made at once and drawn from.
      batch_size: sequences of the longest that are read at once.
      outlier: times the median norm of a site, above which a row is left out; 0 for none.

    Raises:
      DataError: there is no such split.
      UserError: no site is named, or the model has no such one.
    """
    if split not in tokens.splits:
        raise errors.DataError(f'there is no split "{split}": there are {", ".join(tokens.splits)}')
    sites, targets = base.named(site), base.named(target)
    if not sites:
        raise errors.UserError("the data set stream needs --config.data.site=SITE")
    model.check_sites((*sites, *targets))
    names = list(tokens.splits)
    first = sum(tokens.splits[name] for name in names[: names.index(split)])
    part = slice(first, first + tokens.splits[split])
    whole = tokens.sequences
    own = token_sequences.Sequences(whole.ids[part], whole.lengths[part], whole.documents[part])
    widths, target_widths = ([model.width(name) for name in each] for each in (sites, targets))
    spec = base.site_spec(model.name, split, widths, target_widths)
    return Stream(spec, sites, targets, model, own, buffer, batch_size, outlier)


def _whole(mesh: Mesh) -> jax.sharding.Sharding:
    return jax.NamedSharding(mesh, jax.P())


def _shared(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Returns a batch of so many rows more that it can be split over devices, and is.

    The rows are those of the first, so that none is empty.
    """
    missing = -len(array) % mesh.shape["data"]
    whole = np.concatenate([array, np.repeat(array[:1], missing, axis=0)])
    split = jax.NamedSharding(mesh, jax.P("data"))
    return jax.make_array_from_callback(whole.shape, split, lambda index: whole[index])


@jax.jit
def _usual(
    captured: dict[str, jax.Array], kept: jax.Array, largest: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Returns `[rows, columns, width]` by site, outliers replaced by their nearest usual token."""
    usual = kept
    for site, array in captured.items():
        norms = jnp.linalg.norm(array.astype(jnp.float32), axis=-1)
        usual = usual & (norms <= largest[site])
    columns = jnp.arange(kept.shape[1])[None]
    before = jax.lax.cummax(jnp.where(usual, columns, -1), axis=1)
    behind = jax.lax.cummin(jnp.where(usual, columns, kept.shape[1]), axis=1, reverse=True)
    # Of a sequence of outliers alone each stays.
    at = jnp.where(before >= 0, before, jnp.where(behind < kept.shape[1], behind, columns))
    return {
        site: jnp.take_along_axis(array, at[..., None], axis=1) for site, array in captured.items()
    }


@functools.partial(jax.jit, donate_argnums=0)
def _put(
    rows: dict[str, jax.Array], captured: dict[str, jax.Array], at: jax.Array
) -> dict[str, jax.Array]:
    """Returns rows with those of a batch at their places; what has none is dropped."""
    return {
        site: array.at[at.reshape(-1)].set(captured[site].reshape(-1, array.shape[1]), mode="drop")
        for site, array in rows.items()
    }
