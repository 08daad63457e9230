"""Measures a trained run on any split: `python -m experiments.evaluate --workdir=W --split=train`.

Without --split it repeats the evaluations of the run's config. Prints a table; with --json numbers,
with --intervals also between what values each number lies when other examples are drawn, or other
documents, where examples are tokens of them. A run on activations of a language model is also
spliced into it.
"""

import dataclasses
import functools
import itertools
import json
from pathlib import Path

from absl import flags
import jax
import numpy as np

from experiments import build, cli, language, report, run, topics, words, workdir
from sae_jax import errors
from sae_jax.analysis import bootstrap
from sae_jax.data import activations, base
from sae_jax.store import reader
from sae_jax.train import evaluate, loop, step

_BLOCKS = 100
_DOCUMENTS = 4000  # Whose topics probes are fitted to.
_READ = 24  # Documents, whose words are probed.
_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_SPLIT = flags.DEFINE_list("split", [], 'Splits of its data: "train", "test[:1000]", ...')
_INTERVALS = flags.DEFINE_bool("intervals", False, "Add 95 % bootstrap intervals over examples.")
_SEQUENCES = flags.DEFINE_integer(
    "sequences", 200, "Of tokens, that a language model reads with and without reconstructions.", 1
)
_TOPICS = flags.DEFINE_bool("topics", False, "Probe single latents for the classes of texts.")
_WORDS = flags.DEFINE_bool("words", False, "Probe single latents for the parts of speech.")
_JSON = flags.DEFINE_bool("json", False, "Print numbers in full, as JSON.")


def main() -> int:
    """Evaluates and prints; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    cli.use_compilation_cache()
    folder = Path(_WORKDIR.value)
    task, state = run.load(folder)
    if _SPLIT.value:
        if not task.evaluations:
            raise errors.UserError(f"{folder} has no evaluation whose metrics could be used")
        like = next(iter(task.evaluations.values()))
        group = build.plain(workdir.load_config(folder))["data"]
        evaluations = {
            split: dataclasses.replace(like, data=build.data({**group, "split": split}))
            for split in _SPLIT.value
        }
        task = dataclasses.replace(task, evaluations=evaluations)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    if _INTERVALS.value:
        results = _with_intervals(evaluator, task, state)
    else:
        results = loop.finish(task, evaluator.all_totals(task.evaluations, state))
    spliced = language.sums(workdir.load_config(folder), task, state, _SEQUENCES.value)
    if spliced is not None:
        results |= language.numbers(spliced, _INTERVALS.value)
    if _TOPICS.value:
        results |= topics.results(workdir.load_config(folder), task, state, _DOCUMENTS)
    if _WORDS.value:
        results |= words.results(workdir.load_config(folder), task, state, _READ)
    print(json.dumps(results, indent=2) if _JSON.value else report.table(results))
    return 0


def _with_intervals(
    evaluator: evaluate.Evaluator, task: loop.Task, state: step.State
) -> dict[str, float]:
    """Returns numbers and the ends of their intervals, as "<evaluation>/", "<evaluation> from/"."""
    results: dict[str, float] = {}
    for name, evaluation in task.evaluations.items():
        blocks = _blocks(evaluator, evaluation, state, task.mesh.shape["data"])
        total = functools.reduce(functools.partial(jax.tree.map, np.add), blocks)
        found = bootstrap.intervals(evaluation, blocks)
        for metric, value in evaluate.finish(evaluation, total).items():
            results[f"{name}/{metric}"] = value
            if metric in found:
                results[f"{name} from/{metric}"], results[f"{name} to/{metric}"] = found[metric]
    return results


def _blocks(
    evaluator: evaluate.Evaluator,
    evaluation: evaluate.Evaluation,
    state: step.State,
    shards: int,
) -> list[evaluate.Totals]:
    """Returns the totals of each block: of whole documents, or else of as many rows each."""
    edges = _edges(evaluation.data)
    sizes = np.diff(edges)
    rows = min(evaluation.batch_size, -(-int(sizes.max()) // shards) * shards)
    pieces = [
        [(index + first, mask) for index, mask in base.batches(int(size), rows)]
        for first, size in zip(edges[:-1], sizes, strict=True)
    ]
    sums = evaluator.blocks(evaluation, state, itertools.chain(*pieces))
    add = functools.partial(jax.tree.map, np.add)
    return [functools.reduce(add, itertools.islice(sums, len(piece))) for piece in pieces]


def _edges(data: base.Dataset) -> np.ndarray:
    """Returns where each block begins, and the end of the last, int32 `[blocks + 1]`.

    Tokens of one document are alike: blocks that cut it would make intervals too narrow.
    """
    whole = np.arange(data.length + 1, dtype=np.int32)
    if isinstance(data, activations.Activations):
        new = [_new_documents(*each) for each in zip(data.stores, data.kept, strict=True)]
        whole = whole[np.append(np.concatenate(new), True)]
    count = min(_BLOCKS, len(whole) - 1)
    return whole[np.round(np.linspace(0, len(whole) - 1, count + 1)).astype(int)]


def _new_documents(store: reader.Store, kept: reader.Kept) -> np.ndarray:
    """Returns which examples of a store are the first of a document; all where it has none."""
    if store.sequences is None:
        return np.ones(kept.length, bool)
    sequence, _ = store.sequences.places(kept.rows(np.arange(kept.length)))
    return np.diff(store.sequences.documents[sequence], prepend=-1) != 0


if __name__ == "__main__":
    cli.run(main)
