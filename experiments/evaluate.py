"""Measures a trained run on any split: `python -m experiments.evaluate --workdir=W --split=train`.

Without --split it repeats the evaluations of the run's config. Prints a table; with --json numbers,
with --intervals also between what values each number lies when other examples are drawn, or other
documents, where examples are tokens of them. A run on activations of a language model is also
spliced into it.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from experiments import build, cli, intervals, language, report, run, topics, words, workdir
from sae_jax import errors
from sae_jax.train import evaluate, loop

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
        results = intervals.results(evaluator, task, state)
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


if __name__ == "__main__":
    cli.run(main)
