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
from sae_jax.data import activations
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
        if parts := _of_documents(evaluation):
            blocks = [evaluator.totals(part, state) for part in parts]
        else:
            shards = task.mesh.shape["data"]
            size = max(evaluation.data.length // _BLOCKS // shards, 1) * shards
            cut = dataclasses.replace(evaluation, batch_size=size)
            blocks = list(evaluator.blocks(cut, state))
        total = functools.reduce(functools.partial(jax.tree.map, np.add), blocks)
        found = bootstrap.intervals(evaluation, blocks)
        for metric, value in evaluate.finish(evaluation, total).items():
            results[f"{name}/{metric}"] = value
            if metric in found:
                results[f"{name} from/{metric}"], results[f"{name} to/{metric}"] = found[metric]
    return results


def _of_documents(evaluation: evaluate.Evaluation) -> list[evaluate.Evaluation]:
    """Returns the evaluation in parts of whole documents; none where rows are of no documents.

    Tokens of one document are alike: blocks that cut it would make intervals too narrow.
    """
    data = evaluation.data
    if not isinstance(data, activations.Activations) or evaluation.corruption.of is not None:
        return []
    parts = []
    for store, kept in zip(data.stores, data.kept, strict=True):
        if (found := store.sequences) is None:
            return []
        sequence, _ = found.places(kept.rows(np.arange(kept.length)))
        new = np.flatnonzero(np.diff(found.documents[sequence])) + 1
        edges = np.concatenate([[0], new, [kept.length]])
        count = min(len(edges) - 1, max(_BLOCKS // len(data.stores), 1))
        edges = edges[np.round(np.linspace(0, len(edges) - 1, count + 1)).astype(int)]
        for first, until in itertools.pairwise(edges.tolist()):
            own = [kept.part(first, until)]
            part = dataclasses.replace(data, stores=[store], kept=own, shares=(1.0,))
            parts.append(dataclasses.replace(evaluation, data=part))
    return parts


if __name__ == "__main__":
    cli.run(main)
