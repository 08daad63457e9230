"""From texts to a store: a language model reads sequences, and what it has at sites stays."""

from collections.abc import Callable, Sequence
import zlib

import jax
import numpy as np

from sae_jax.data import corpus
from sae_jax.lm import base as lm
from sae_jax.store import plan as plans, writer
from sae_jax.text import base as text


def plan(
    model: lm.LanguageModel,
    texts: text.Texts,
    tokens: corpus.Corpus,
    sites: Sequence[str],
    dtype: str = "bfloat16",
    shard_bytes: int = 2**27,
    outlier: float = 10.0,
) -> plans.Plan:
    """Returns the plan of a store of a model's activations.

    Args:
      model: that reads.
      texts: what it reads.
      tokens: of the texts.
      sites: where.
      dtype: of the rows.
      shard_bytes: of a shard, about: at least one sequence.
      outlier: as of `Plan`.
    """
    widths = {site: model.width(site) for site in sites}
    like = plans.Plan(widths, dtype, {"": [1]}, {}, outlier)
    most = max(1, shard_bytes // like.row_bytes)
    lengths, splits, first = tokens.sequences.lengths, {}, 0
    for split, count in tokens.splits.items():
        splits[split] = _shards(lengths[first : first + count], most)
        first += count
    crc32 = zlib.crc32(tokens.sequences.ids.tobytes())
    source = {
        "model": model.name,
        "weights": model.fingerprint(),
        "text": texts.name,
        "tokens": int(lengths.sum()),
        "length": tokens.sequences.ids.shape[1],
        "crc32": f"{crc32:08x}",
    }
    return plans.Plan(widths, dtype, splits, source, outlier)


def write(
    model: lm.LanguageModel,
    tokens: corpus.Corpus,
    store: writer.Writer,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda rows: None,
) -> bool:
    """Writes the shards that are missing; returns whether the store is finished.

    Args:
      model: that reads.
      tokens: of which `store.plan` was made.
      store: to write to.
      batch_size: sequences that are read at once.
      process: which of `processes` writers this is.
      processes: writers that share the shards out.
      progress: told the rows of each shard that is written.
    """
    starts = np.searchsorted(tokens.sequences.starts, store.plan.starts)
    for number in store.missing(process, processes):
        sequences = range(starts[number], starts[number + 1])
        parts: dict[str, list[np.ndarray]] = {site: [] for site in store.plan.sites}
        signs, places = [], []
        for read, ids, mask in corpus.batches(tokens.sequences, sequences, batch_size):
            run = model.run(ids, mask, capture=tuple(parts), logits=False)
            mask[len(read) :] = False
            signs.append(corpus.special(model.tokenizer, ids)[mask])
            first = tokens.sequences.starts[read][:, None] - store.plan.starts[number]
            places.append((first + np.arange(ids.shape[1]))[mask[: len(read)]])
            for site, array in jax.device_get(run.captured).items():
                parts[site].append(array[mask])
        order = np.argsort(np.concatenate(places))
        rows = {site: np.concatenate(found)[order] for site, found in parts.items()}
        store.write(number, rows, np.concatenate(signs)[order])
        progress(store.plan.shards[number])
    return store.finish()


def _shards(lengths: np.ndarray, most: int) -> list[int]:
    """Returns rows of shards of whole sequences, each of at most `most` rows where it can be."""
    found = [0]
    for length in lengths.tolist():
        if found[-1] and found[-1] + length > most:
            found.append(0)
        found[-1] += length
    return found
