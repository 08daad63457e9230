"""Measures a trained run on any split: `python -m experiments.evaluate --workdir=W --split=train`.

Without --split it repeats the evaluations of the run's config. Prints a table; with --json numbers.
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from experiments import build, cli, report, run, workdir
from sae_jax import errors
from sae_jax.train import evaluate, loop

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_SPLIT = flags.DEFINE_list("split", [], 'Splits of its data: "train", "test[:1000]", ...')
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
    results = loop.finish(task, evaluator.all_totals(task.evaluations, state))
    print(json.dumps(results, indent=2) if _JSON.value else report.table(results))
    return 0


if __name__ == "__main__":
    cli.run(main)
