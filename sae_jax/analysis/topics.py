"""What single latents know of whole documents: sparse probes on codes averaged over tokens.

  document = mean over its tokens, special ones and outliers left out, of codes

Probed as in SAEBench (`sparse_probe`), beside the same of the activations themselves and of a
random dictionary: directions at random, of which each token keeps as many as the autoencoder does.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sae_jax import errors
from sae_jax.analysis import probe, sparse_probe

Encode = Callable[[np.ndarray], np.ndarray]
Rows = Callable[[np.ndarray], np.ndarray]
_LEAST = 10  # Documents of a class, that a probe needs.


def pooled(
    rows: Rows, documents: np.ndarray, encode: Mapping[str, Encode], batch_size: int = 4096
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the mean code of each document by name, `[documents, d]`, and which they are.

    Args:
      rows: from numbers `[n]` of tokens to their activations `[n, width]`.
      documents: of each token, int `[tokens]`.
      encode: by name, from activations to codes `[n, d]`.
      batch_size: tokens at once.
    """
    names, place = np.unique(documents, return_inverse=True)
    totals: dict[str, np.ndarray] = {}
    for first in range(0, len(documents), batch_size):
        index = np.arange(first, min(first + batch_size, len(documents)))
        x, at = rows(index), place[index]
        for name, codes_of in encode.items():
            codes = codes_of(x)
            if name not in totals:
                totals[name] = np.zeros((len(names), codes.shape[1]))
            starts = np.flatnonzero(np.diff(at, prepend=-1))
            np.add.at(totals[name], at[starts], np.add.reduceat(codes, starts, axis=0))
    counts = np.bincount(place)[:, None]
    return {name: total / counts for name, total in totals.items()}, names


def random_dictionary(width: int, d_sae: int, k: int, mean: np.ndarray, seed: int = 0) -> Encode:
    """Returns what keeps the k largest projections on random directions, those above 0.

    Args:
      width: of activations.
      d_sae: directions.
      k: how many are kept.
      mean: `[width]`, what is subtracted first.
      seed: of the directions.
    """
    w = np.random.RandomState(seed).standard_normal((width, d_sae)).astype(np.float32)
    w /= np.linalg.norm(w, axis=0)

    def encode(x: np.ndarray) -> np.ndarray:
        pre = (x - mean.astype(np.float32)) @ w
        edge = np.partition(pre, -k, axis=1)[:, [-k]]
        return np.where(pre >= np.maximum(edge, 0), pre, 0)

    return encode


def accuracies(
    train: probe.Examples,
    test: probe.Examples,
    ks: Sequence[int] = (1, 2, 5),
    everything: bool = False,
) -> dict[str, float]:
    """Returns the share of balanced documents that k latents tell right, mean over classes.

    Documents of no class, -1, and classes of fewer than 10 documents on either side are left out.

    Args:
      train: codes of documents and their classes, that probes are fitted to.
      test: what is measured.
      ks: numbers of latents.
      everything: whether a probe on all there are is added, "probe_all".

    Raises:
      DataError: fewer than two classes are left.
    """
    kept = [
        label
        for label in np.unique(train.label[train.label >= 0])
        if min((part.label == label).sum() for part in (train, test)) >= _LEAST
    ]
    if len(kept) < 2:
        raise errors.DataError(
            f"{len(kept)} classes have {_LEAST} documents or more to fit and to measure: dump more "
            "documents"
        )
    parts = [
        probe.Examples(part.codes[chosen], part.label[chosen])
        for part in (train, test)
        for chosen in [np.isin(part.label, kept)]
    ]
    width = train.codes.shape[1]
    found = sparse_probe.accuracies(parts[0], parts[1], (*ks, width) if everything else ks)
    named = {"classes": float(len(kept))} | {f"probe_{k}": found[k] for k in ks}
    return named | {"probe_all": found[width]} if everything else named
