"""What a run says when it begins and ends: a headline, a table, pictures, where things lie."""

from collections.abc import Mapping
import fnmatch
import importlib
import json
from pathlib import Path

import jax

from experiments import build, figures, language, run, workdir
from sae_jax import errors, files
from sae_jax.train import evaluate, loop, step

_SEQUENCES = 200  # Of tokens, that a language model reads with and without reconstructions.


def announce(task: loop.Task, folder: Path, state: step.State, resumed: int) -> None:
    """Prints what is about to be trained, and where it is kept."""
    spec, plan = task.data.spec, task.plan
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    devices = f"{task.mesh.size} {jax.devices()[0].platform} device{'s' * (task.mesh.size > 1)}"
    print(
        f"{spec.name} {spec.split}: {task.data.length:,} x {spec.d_in}, "
        f"{state.idle.size:,} latents, {count:,} parameters, {plan.num_steps:,} steps of "
        f"{plan.batch_size}, {devices}"
    )
    print(f"{'goes on from step ' + format(resumed, ',') if resumed else 'starts'} in {folder}")
    if not resumed:
        print("the first steps wait for the compiler")


def finish(
    task: loop.Task,
    folder: Path,
    state: step.State,
    totals: Mapping[str, evaluate.Totals] | None = None,
) -> None:
    """Writes results and pictures of a trained state, marks the run done, prints all.

    `totals` is what its evaluations found; without it they are made now.
    """
    view = run.view(folder, task, state, totals)
    write_results(view)
    if jax.process_index() == 0:
        figures.draw_all(view)
        conclude(folder)


def write_results(view: figures.Run) -> None:
    """Writes the metrics of a trained state; every process of a run must call it."""
    folder, task = view.folder, view.task
    spliced = language.sums(workdir.load_config(folder), task, view.state, _SEQUENCES)
    if jax.process_index() > 0:
        return
    results = loop.finish(task, view.totals)
    if spliced is not None:
        results |= language.numbers(spliced)
    files.replace(folder / "results.json", json.dumps(results, indent=2) + "\n")


def conclude(folder: Path) -> None:
    """Marks a run done whose results and pictures are there, and prints all."""
    files.replace(folder / "DONE", "")
    show_results(folder)


def show_results(folder: Path) -> None:
    """Prints the table of a finished run, and where things lie."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise errors.UserError(
            f"{folder} is marked DONE, but its results.json cannot be read ({error}): delete "
            f"{folder / 'DONE'} and run the same command"
        ) from error
    print("\n" + table(results) + "\n")
    for name, what in (
        ("config.json", "the config, resolved"),
        ("metrics.jsonl", "a row every few steps; tensorboard/ has the same"),
        ("checkpoints", "states"),
        ("results.json", "this table"),
    ):
        print(f"  {folder / name}  {what}")
    for picture in sorted((folder / "figures").glob("*.png")):
        print(f"  {picture}")


def table(results: dict[str, float]) -> str:
    """Returns the metrics as text, a row a metric and a column an evaluation."""
    names = list(dict.fromkeys(key.split("/")[0] for key in results))
    if not results:
        return "nothing was measured: config.evals names no metric"
    metrics = list(dict.fromkeys(key.split("/", 1)[1] for key in results))
    width = max(len(metric) for metric in metrics)
    wide = {name: max(12, len(name) + 2) for name in names}
    lines = [" " * width + "".join(f"{name:>{wide[name]}}" for name in names)]
    for metric in metrics:
        row = f"{metric:<{width}}"
        for name in names:
            value = results.get(f"{name}/{metric}")
            row += f"{'-' if value is None else format(value, '.4g'):>{wide[name]}}"
        lines.append(f"{row}   {meaning(metric)}")
    return "\n".join(line.rstrip() for line in lines)


def meaning(metric: str) -> str:
    """Returns what a number of a metric says, in the words of the metric's file."""
    metrics = [f"sae_jax.metrics.{name}" for name in build.modules_in("metrics")]
    # By name: what few need, and imports much, is imported last.
    for name in (*metrics, "sae_jax.analysis.language", "experiments.topics"):
        meanings = importlib.import_module(name).MEANING
        for pattern, text in meanings.items():
            if fnmatch.fnmatchcase(metric, pattern):
                return text
    return ""
