"""Opens a run that lies in a folder: its task, and its state as it was saved last."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments import build, checks, figures, workdir
from sae_jax import errors
from sae_jax.data import base
from sae_jax.models import base as models
from sae_jax.train import checkpoint, evaluate, loop, step


def load(folder: Path) -> tuple[loop.Task, step.State]:
    """Returns the task and the newest state of a run, finished or not, as it is evaluated."""
    task = build.task(workdir.load_config(folder))
    checks.refuse_problems(task)
    if not (folder / "checkpoints").is_dir():
        raise errors.UserError(f"{folder} holds no checkpoint yet: train it first")
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    state = checkpoints.restore(loop.template(task))
    checkpoints.close()
    if state is None:
        raise errors.UserError(f"{folder} holds no checkpoint yet: train it first")
    return task, step.at_rest(task.method, state)


def view(
    folder: Path,
    task: loop.Task,
    state: step.State,
    totals: Mapping[str, evaluate.Totals] | None = None,
    evaluator: evaluate.Evaluator | None = None,
) -> figures.Run:
    """Returns a trained run as pictures see it; makes its evaluations unless `totals` has them.

    All processes of a run must call it; each gets the whole.
    """
    state = step.at_rest(task.method, state)
    evaluator = evaluator or evaluate.Evaluator(task.method, task.mesh)
    totals = totals or evaluator.all_totals(task.evaluations, state)
    if task.evaluations:
        examples = next(iter(task.evaluations.values())).first(figures.EXAMPLES)
    else:
        examples = base.first(task.data, figures.EXAMPLES)
    return figures.Run(
        folder=folder,
        task=task,
        state=state,
        params=evaluator.gathered(
            models.with_dictionary(task.method.model, state.params, state.stats)
        ),
        stats=evaluator.gathered(state.stats),
        totals=totals,
        input=np.asarray(examples.x),
        target=np.asarray(examples.target),
        output=evaluator.outputs(state, examples),
        evaluator=evaluator,
    )
