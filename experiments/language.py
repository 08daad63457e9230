"""What a language model loses by a run's reconstructions, where the run has a language model."""

from collections.abc import Mapping

import jax
import ml_collections
import numpy as np

from experiments import build
from sae_jax import errors, mesh as meshes, types
from sae_jax.analysis import bootstrap, language
from sae_jax.data import activations, stream
from sae_jax.lm import base as lm
from sae_jax.store import reader
from sae_jax.train import feed, loop, step

PREFIX = "text"
_SAMPLE = 10_000  # Tokens of a stream that tell a mean.


def model(config: ml_collections.ConfigDict, data: activations.Activations) -> lm.LanguageModel:
    """Returns the language model that a run's activations are of.

    Raises:
      UserError: its weights are not those that wrote the store.
    """
    found = build.language_model(build.reader_recipe(config.data.recipe)["lm"])
    store = data.stores[0]
    if (wrote := store.plan.source.get("weights")) != found.fingerprint():
        raise errors.UserError(
            f"{store.folder} was written by a {store.plan.source.get('model')} of weights {wrote}, "
            f"and {config.data.recipe} names one of weights {found.fingerprint()}"
        )
    return found


def sums(
    config: ml_collections.ConfigDict, task: loop.Task, state: step.State, sequences: int
) -> Mapping[str, np.ndarray] | None:
    """Returns sums over tokens for each held-out document; None where nothing can be spliced.

    Every process of a run must call it.

    Args:
      config: of the run.
      task: of the run.
      state: as it is evaluated.
      sequences: how many are read, from the beginning of the first evaluation's split.
    """
    data = next((each.data for each in task.evaluations.values()), None)
    if isinstance(data, stream.Stream):
        return _of_stream(data, task, state, sequences)
    if not isinstance(data, activations.Activations) or not config.data.get("recipe"):
        return None
    store, targets = data.stores[0], data.target_sites or data.sites
    if store.sequences is None:
        return None
    rows = store.plan.range_of(data.spec.split)
    first, last = np.searchsorted(store.sequences.starts, rows)
    sites = language.Sites(
        read=data.sites,
        write=targets,
        means=tuple(store.statistics[f"{site}/mean"].astype(np.float32) for site in targets),
        largest=tuple(largest(store, site) for site in data.sites),
    )
    chosen = range(int(first), int(min(last, first + sequences)))
    reconstruct = _reconstruct(task, state)
    return language.sums(model(config, data), reconstruct, sites, store.sequences, chosen)


def _of_stream(
    data: stream.Stream, task: loop.Task, state: step.State, sequences: int
) -> Mapping[str, np.ndarray]:
    """Returns the same where activations lie nowhere; the mean is that of some thousand tokens."""
    targets = data.target_sites or data.sites
    some = data.rows(np.arange(min(_SAMPLE, data.length)))
    means = [some[site].mean(axis=0, dtype=np.float64).astype(np.float32) for site in targets]
    limits = tuple(data.largest[site] for site in data.sites)
    sites = language.Sites(data.sites, targets, tuple(means), limits)
    chosen = range(min(sequences, len(data.sequences.ids)))
    return language.sums(data.model, _reconstruct(task, state), sites, data.sequences, chosen)


def largest(store: reader.Store, site: str) -> float:
    """Returns the norm above which an activation at a site of a store is an outlier."""
    median = store.manifest["sites"][site]["median_norm"]
    return store.plan.outlier * median if store.plan.outlier else float("inf")


def _reconstruct(task: loop.Task, state: step.State) -> language.Reconstruct:
    state = step.at_rest(task.method, state)
    whole = meshes.replicated(task.mesh)

    def of(state: step.State, x: jax.Array) -> jax.Array:
        return step.reconstruct(task.method, state, types.Batch(x=x)).x_hat

    program = jax.jit(meshes.over(task.mesh, of), out_shardings=whole)
    return lambda x: np.asarray(program(state, feed.put(np.asarray(x), whole)))


def numbers(totals: Mapping[str, np.ndarray], intervals: bool = False) -> dict[str, float]:
    """Returns what sums stand for, as the results of a run name it.

    Args:
      totals: of each document.
      intervals: whether to add the ends of each number's bootstrap interval over documents.
    """
    found = {f"{PREFIX}/{name}": value for name, value in language.finish(totals).items()}
    if intervals:
        for name, (least, most) in bootstrap.of_sums(totals, language.finish).items():
            found |= {f"{PREFIX} from/{name}": least, f"{PREFIX} to/{name}": most}
    return found
