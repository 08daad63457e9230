"""How well few latents of a run tell the classes of the texts that its activations are of."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from experiments import build
from sae_jax import errors, types
from sae_jax.analysis import probe, topics
from sae_jax.data import activations
from sae_jax.train import loop, step

MEANING = {
    "classes": "classes that have examples enough",
    "probe_*": "share of examples that so many latents tell right, guessing 0.5",
}
_ACTIVATIONS = ": activations"  # Of these a probe on all says what is there to be told.
_SAMPLE = 2000  # Tokens that tell how many latents are active, and a mean.


def results(
    config: ml_collections.ConfigDict, task: loop.Task, state: step.State, documents: int
) -> dict[str, float]:
    """Returns accuracies of probes on codes, on activations and on a random dictionary.

    Args:
      config: of the run.
      task: of the run.
      state: as it is evaluated.
      documents: of the training split, that probes are fitted to; all others are measured.

    Raises:
      UserError: the run has no texts, or they are of no classes.
    """
    data = task.data
    if not isinstance(data, activations.Activations) or not config.data.get("recipe"):
        raise errors.UserError("--topics needs a run on activations, with config.data.recipe")
    label = build.texts(build.reader_recipe(config.data.recipe)["text"]).label
    if label is None:
        raise errors.UserError(f"the texts of {config.data.recipe} are of no classes")
    encode = encoders(task, state, data, "topics")
    parts = []
    for splits, most in ((("train",), documents), (("valid", "test"), None)):
        found = [_pooled(config, split, encode, most) for split in splits]
        codes = {name: np.concatenate([each[0][name] for each in found]) for name in encode}
        parts.append((codes, label[np.concatenate([each[1] for each in found])]))
    numbers: dict[str, float] = {}
    for name in encode:
        train, test = (probe.Examples(codes[name], of) for codes, of in parts)
        numbers |= measured(name, train, test)
    return numbers


def measured(name: str, train: probe.Examples, test: probe.Examples) -> dict[str, float]:
    """Returns accuracies of probes on what `encoders` calls `name`, by name and metric."""
    shares = topics.accuracies(train, test, everything=name.endswith(_ACTIVATIONS))
    return {f"{name}/{metric}": share for metric, share in shares.items()}


def _pooled(
    config: ml_collections.ConfigDict,
    split: str,
    encode: dict[str, topics.Encode],
    most: int | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns mean codes of the documents of a split, the first `most` of them."""
    data = build.data({**build.plain(config)["data"], "split": split})
    store = data.stores[0]
    if store.sequences is None:
        raise errors.UserError(f"{store.folder} is not of tokens")
    rows = data.kept[0].rows(np.arange(data.kept[0].length))
    documents = store.sequences.documents[store.sequences.places(rows)[0]]
    if most is not None:
        _, first = np.unique(documents, return_index=True)
        ends = np.sort(first)
        documents = documents[: ends[most]] if most < len(ends) else documents
    return topics.pooled(_reader(data), documents, encode)


def _reader(data: activations.Activations) -> topics.Rows:
    """Returns what reads examples, float32."""
    decode = jax.jit(data.decode)
    return lambda index: np.asarray(decode(jax.tree.map(jnp.asarray, data.rows(index))).x)


def encoders(
    task: loop.Task, state: step.State, data: activations.Activations, name: str
) -> dict[str, topics.Encode]:
    """Returns what is probed: codes, activations as they are, and codes of a random dictionary.

    Args:
      task: of the run.
      state: as it is evaluated.
      data: that the run was trained on.
      name: of the codes in a table; that of the others begins with it.
    """
    state = step.at_rest(task.method, state)
    program = jax.jit(lambda state, x: step.reconstruct(task.method, state, types.Batch(x=x)).codes)

    def codes(x: np.ndarray) -> np.ndarray:
        return np.asarray(program(state, jnp.asarray(x)))

    sample = _reader(data)(np.arange(min(_SAMPLE, data.length)))
    found = codes(sample)
    k = max(round(float((found != 0).sum(axis=1).mean())), 1)
    chance = topics.random_dictionary(sample.shape[1], found.shape[1], k, sample.mean(axis=0))
    return {name: codes, name + _ACTIVATIONS: lambda x: x, f"{name}: random": chance}
