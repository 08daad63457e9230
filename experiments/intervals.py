"""Between what values a metric of a run lies, had other examples been drawn, or other documents."""

import functools
import itertools

import jax
import numpy as np

from sae_jax.analysis import bootstrap
from sae_jax.data import activations, base, stream
from sae_jax.store import reader
from sae_jax.train import evaluate, loop, step

_BLOCKS = 100


def results(evaluator: evaluate.Evaluator, task: loop.Task, state: step.State) -> dict[str, float]:
    """Returns numbers and the ends of their intervals, as "<evaluation>/", "<evaluation> from/"."""
    made: dict[str, float] = {}
    for name, evaluation in task.evaluations.items():
        blocks = _blocks(evaluator, evaluation, state, task.mesh.shape["data"])
        total = functools.reduce(functools.partial(jax.tree.map, np.add), blocks)
        found = bootstrap.intervals(evaluation, blocks)
        for metric, value in evaluate.finish(evaluation, total).items():
            made[f"{name}/{metric}"] = value
            if metric in found:
                made[f"{name} from/{metric}"], made[f"{name} to/{metric}"] = found[metric]
    return made


def _blocks(
    evaluator: evaluate.Evaluator,
    evaluation: evaluate.Evaluation,
    state: step.State,
    shards: int,
) -> list[evaluate.Totals]:
    """Returns the totals of each block: of whole documents, or else of as many rows each."""
    places = edges(evaluation.data)
    sizes = np.diff(places)
    rows = min(evaluation.batch_size, -(-int(sizes.max()) // shards) * shards)
    pieces = [
        [(index + first, mask) for index, mask in base.batches(int(size), rows)]
        for first, size in zip(places[:-1], sizes, strict=True)
    ]
    sums = evaluator.blocks(evaluation, state, itertools.chain(*pieces))
    add = functools.partial(jax.tree.map, np.add)
    return [functools.reduce(add, itertools.islice(sums, len(piece))) for piece in pieces]


def edges(data: base.Dataset) -> np.ndarray:
    """Returns where each block begins, and the end of the last, int32 `[blocks + 1]`.

    Tokens of one document are alike: blocks that cut it would make intervals too narrow.
    """
    whole = np.arange(data.length + 1, dtype=np.int32)
    if isinstance(data, activations.Activations):
        new = [_new_documents(*each) for each in zip(data.stores, data.kept, strict=True)]
        whole = whole[np.append(np.concatenate(new), True)]
    if isinstance(data, stream.Stream):
        whole = whole[np.append(np.diff(data.documents, prepend=-1) != 0, True)]
    count = min(_BLOCKS, len(whole) - 1)
    return whole[np.round(np.linspace(0, len(whole) - 1, count + 1)).astype(int)]


def _new_documents(store: reader.Store, kept: reader.Kept) -> np.ndarray:
    """Returns which examples of a store are the first of a document; all where it has none."""
    if store.sequences is None:
        return np.ones(kept.length, bool)
    sequence, _ = store.sequences.places(kept.rows(np.arange(kept.length)))
    return np.diff(store.sequences.documents[sequence], prepend=-1) != 0
