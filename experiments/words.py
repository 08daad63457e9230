"""How well few latents of a run tell the classes of words, such as their parts of speech."""

import ml_collections
import numpy as np

from experiments import build, language, topics
from sae_jax import errors
from sae_jax.analysis import probe, words
from sae_jax.data import activations
from sae_jax.train import loop, step

_MOST = 16_000  # Words that probes are fitted to.
_HELD_OUT = 4  # One document of so many is for measuring.


def results(
    config: ml_collections.ConfigDict, task: loop.Task, state: step.State, documents: int
) -> dict[str, float]:
    """Returns accuracies of probes on codes, on activations and on a random dictionary.

    The language model of the run reads its own texts if their words are of classes, or else the
    Brown corpus.

    Args:
      config: of the run.
      task: of the run.
      state: as it is evaluated.
      documents: how many are read.

    Raises:
      UserError: the run is on no language model.
    """
    data = task.data
    if not isinstance(data, activations.Activations) or data.stores[0].sequences is None:
        raise errors.UserError("--words needs a run on activations of a language model")
    recipe = build.reader_recipe(config.data.recipe)
    texts = build.texts(recipe["text"])
    if texts.words is None:
        texts = build.texts({"name": "brown"})
    store = data.stores[0]
    found = words.read(
        *(language.model(config, data), texts, data.sites, documents, recipe["length"]),
        largest=language.largest(store, data.sites[0]),
    )
    read = np.unique(found.document)
    held_out = np.isin(found.document, read[::_HELD_OUT])
    parts = [_some(np.flatnonzero(~held_out), _MOST), _some(np.flatnonzero(held_out), _MOST)]
    numbers: dict[str, float] = {}
    for name, encode in topics.encoders(task, state, data, "words").items():
        train, test = (probe.Examples(encode(found.x[rows]), found.label[rows]) for rows in parts)
        numbers |= topics.measured(name, train, test)
    return numbers


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """Returns at most so many rows, in their order."""
    return np.sort(np.random.RandomState(0).permutation(rows)[:most])
