"""What a language model loses when activations are replaced by their reconstructions.

Over the tokens of held-out documents, with losses in nats for the next token:

  delta_ce            CE(reconstruction) - CE(clean)
  recovered (zero)    (CE(0) - CE(reconstruction)) / (CE(0) - CE(clean))
  recovered (mean)    the same with the mean activation instead of 0
  kl                  mean of KL(clean || reconstruction) of the next token's distribution
  kl recovered        1 - KL(reconstruction) / KL(ablated)

Special tokens and outliers keep their activation in every case, and what is predicted at them does
not count: an ablated attention sink would make anything look good. Where several sites are
reconstructed, as by a crosscoder, all are replaced at once, by what is made of the activations of
the untouched model, and so are the zeros and means that this is compared with. Sums are of
documents, so that intervals can be drawn over documents, whose tokens are not independent.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors
from sae_jax.data import corpus
from sae_jax.lm import base as lm, edit
from sae_jax.store import sequences as token_sequences

MEANING = {
    "ce": "nats lost for the next token, the language model untouched",
    "ce_spliced": "the same with reconstructions in place of activations",
    "delta_ce": "what reconstructions cost, nats for a token",
    "ce_zero": "nats lost with zeros in place of activations",
    "ce_mean": "nats lost with the mean activation everywhere",
    "recovered_zero": "share of the loss by zeros that reconstructions win back",
    "recovered_mean": "share of the loss by the mean that reconstructions win back",
    "kl": "KL of the next token's distribution, untouched from spliced, nats",
    "kl_recovered_zero": "1 - that over the same with zeros",
    "kl_recovered_mean": "1 - that over the same with the mean",
}

Reconstruct = Callable[[Any], Any]
_CASES = ("reconstruction", "zero", "mean")


@dataclasses.dataclass(frozen=True)
class Sites:
    """Where an autoencoder reads and writes.

    Attributes:
      read: the sites whose activations it was trained on, as they lie in an example.
      write: the sites that it reconstructs; the same, but for a transcoder.
      means: float `[width]` each, the mean activation at each of `write`.
      largest: norm at each of `read` above which a token is an outlier; none: there are none.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    means: tuple[np.ndarray, ...]
    largest: tuple[float, ...] = ()


def sums(
    model: lm.LanguageModel,
    reconstruct: Reconstruct,
    sites: Sites,
    found: token_sequences.Sequences,
    sequences: range,
    batch_size: int = 16,
) -> dict[str, np.ndarray]:
    """Returns float64 sums over tokens, one for each document.

    Args:
      model: that is spliced.
      reconstruct: `[tokens, widths at read] -> [tokens, widths at write]`, an autoencoder.
      sites: where.
      found: the tokens.
      sequences: which of them.
      batch_size: sequences at once.

    Returns:
      "tokens", "ce/clean", "ce/reconstruction", "ce/zero", "ce/mean" and "kl/..." of the latter
      three, each `[documents]`.
    """
    parts: list[dict[str, np.ndarray]] = []
    read: list[np.ndarray] = []
    for rows, ids, mask in corpus.batches(found, sequences, batch_size):
        batch = _batch(model, reconstruct, sites, ids, mask)
        parts.append({name: np.asarray(total)[: len(rows)] for name, total in batch.items()})
        read.append(rows)
    _, place = np.unique(found.documents[np.concatenate(read)], return_inverse=True)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: np.bincount(place, total.astype(np.float64)) for name, total in joined.items()}


def finish(totals: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the numbers that sums, added over documents, stand for."""
    tokens = float(np.sum(totals["tokens"]))
    if not tokens:
        raise errors.DataError("no token is left to predict: measure more documents")
    mean = {name: float(np.sum(total)) / tokens for name, total in totals.items()}
    clean, spliced = mean["ce/clean"], mean["ce/reconstruction"]
    found = {"ce": clean, "ce_spliced": spliced, "delta_ce": spliced - clean}
    for case in ("zero", "mean"):
        ablated = mean[f"ce/{case}"]
        found[f"ce_{case}"] = ablated
        found[f"recovered_{case}"] = (ablated - spliced) / (ablated - clean)
    found["kl"] = mean["kl/reconstruction"]
    for case in ("zero", "mean"):
        found[f"kl_recovered_{case}"] = 1 - mean["kl/reconstruction"] / mean[f"kl/{case}"]
    return found


def _batch(
    model: lm.LanguageModel,
    reconstruct: Reconstruct,
    sites: Sites,
    ids: np.ndarray,
    mask: np.ndarray,
) -> dict[str, jax.Array]:
    """Returns the sums of each sequence of a batch."""
    clean = model.run(ids, mask, capture=sites.read)
    parts = [clean.captured[site].astype(jnp.float32) for site in sites.read]
    usual = jnp.asarray(mask & ~corpus.special(model.tokenizer, ids))
    for part, largest in zip(parts, sites.largest, strict=False):
        usual &= jnp.linalg.norm(part, axis=-1) <= largest
    x = jnp.concatenate(parts, axis=-1)
    x_hat = jnp.asarray(reconstruct(x.reshape(-1, x.shape[-1]))).reshape(*ids.shape, -1)
    ends = np.cumsum([len(mean) for mean in sites.means])[:-1]
    values = {
        "reconstruction": jnp.split(x_hat, ends, axis=-1),
        "zero": [jnp.zeros(len(mean)) for mean in sites.means],
        "mean": [jnp.asarray(mean) for mean in sites.means],
    }
    counted = model.targets(ids, mask) * usual[:, :-1]
    assert clean.logits is not None
    found = {"tokens": counted.sum(axis=1)}
    found["ce/clean"] = (model.losses(clean.logits, ids, mask) * counted).sum(axis=1)
    for case in _CASES:
        edits = {
            site: edit.replace(
                jnp.broadcast_to(value, (*ids.shape, value.shape[-1])).astype(jnp.float32), usual
            )
            for site, value in zip(sites.write, values[case], strict=True)
        }
        spliced = model.run(ids, mask, edits=edits)
        assert spliced.logits is not None
        found[f"ce/{case}"] = (model.losses(spliced.logits, ids, mask) * counted).sum(axis=1)
        found[f"kl/{case}"] = _divergence(clean.logits, spliced.logits, counted)
    return found


@jax.jit
def _divergence(clean: jax.Array, other: jax.Array, counted: jax.Array) -> jax.Array:
    """Returns KL(clean || other) of the next token, summed over each sequence's tokens."""
    p, q = (jax.nn.log_softmax(logits[:, :-1].astype(jnp.float32)) for logits in (clean, other))
    return ((jnp.exp(p) * (p - q)).sum(axis=-1) * counted).sum(axis=1)
