"""Settings that cannot work, and settings that look as if they will not."""

import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.data import activations, base
from sae_jax.ops import schedule
from sae_jax.train import evaluate, loop, step

_EXAMPLES = 512
_CODES = 2**25  # Of all latents at once.


def problems(task: loop.Task) -> list[str]:
    """Returns what makes a run impossible, a line each."""
    plan, shards = task.plan, task.mesh.shape["data"]
    found = []
    if plan.batch_size > task.data.length:
        found.append(
            f"batch_size={plan.batch_size} does not fit a data set of {task.data.length} examples: "
            f"set config.batch_size to {task.data.length} or less"
        )
    if not task.method.terms:
        found.append("config.loss has no term: there is nothing to learn from")
    sizes = {"batch_size": plan.batch_size} | {
        f"evals.{name}.batch_size": evaluation.batch_size
        for name, evaluation in task.evaluations.items()
    }
    if task.method.parts > 1 and plan.batch_size % (task.method.parts * shards):
        found.append(
            f"config.batch_size={plan.batch_size} cannot be cut into {task.method.parts} parts for "
            f"{shards} devices: set it to a multiple of {task.method.parts * shards}"
        )
    block = task.data.block if isinstance(task.data, activations.Activations) else 1
    if plan.batch_size % block:
        found.append(
            f"config.data.block={block} does not divide config.batch_size={plan.batch_size}: a "
            "batch is of whole blocks"
        )
    if isinstance(task.data, activations.Activations):
        found += _never_seen(task.data, plan.batch_size)
    for name, size in sizes.items():
        if size < 1 or size % shards:
            found.append(
                f"config.{name}={size} cannot be split over {shards} devices: "
                f"set it to a multiple of {shards}"
            )
    return found


def _never_seen(data: activations.Activations, batch_size: int) -> list[str]:
    """Returns a line for each store whose share of a batch comes to no rows."""
    portions = data.portions(batch_size)
    return [
        f"{store.folder} would never be seen, as {share:.2g} of config.batch_size={batch_size} "
        "comes to none of its rows: raise its config.data.weights or config.batch_size, or leave "
        "it out"
        for store, share, count in zip(data.stores, data.shares, portions, strict=True)
        if share and not count
    ]


def refuse_problems(task: loop.Task) -> None:
    """Raises a UserError with everything that makes a run impossible."""
    if found := problems(task):
        raise errors.UserError("; ".join(found))


def warnings(task: loop.Task, state: step.State) -> list[str]:
    """Returns what looks wrong before the first step, a line each."""
    batch = base.first(task.data, max(1, min(_EXAMPLES, _CODES // state.idle.size)))
    output = evaluate.Evaluator(task.method, task.mesh).outputs(state, batch)
    return [
        *_of_schedule(task),
        *_of_terms(task, state, output),
        *_of_weights(task, state, batch),
    ]


def _of_schedule(task: loop.Task) -> list[str]:
    plan, found = task.plan, []
    if task.method.dead_after < plan.batch_size:
        found.append(
            f"dead_after={task.method.dead_after} is less than one batch: it counts examples, so a "
            "latent that rests for one step is called dead"
        )
    if task.method.dead_after > plan.num_steps * plan.batch_size:
        found.append(
            f"dead_after={task.method.dead_after} is more than the "
            f"{plan.num_steps * plan.batch_size} examples of the run: no latent is ever called dead"
        )
    if plan.checkpoint_every == 0:
        found.append("checkpoint_every=0: a run that is killed starts again from step 0")
    return found


def _of_terms(task: loop.Task, state: step.State, output: types.Output) -> list[str]:
    found, codes = [], np.asarray(output.codes)
    if "l1" in task.method.terms and _rows_are_free(task, state):
        found.append(
            "l1 with decoder rows of any norm: codes shrink while rows grow; set "
            'optim.constraint="unit_norm" or use l1_decoder_norm'
        )
    if "kl" in task.method.terms and (codes.min() < 0 or codes.max() > 1):
        found.append('kl needs codes between 0 and 1: set model.activation.name="sigmoid"')
    return found


def _rows_are_free(task: loop.Task, state: step.State) -> bool:
    """Returns whether decoder rows may grow: whether the constraint leaves longer ones alone."""
    if "w_dec" not in state.params:
        return False
    longer = {**state.params, "w_dec": 2 * state.params["w_dec"]}
    kept = task.method.project(longer)["w_dec"]
    return bool(jnp.allclose(kept, longer["w_dec"]))


def _of_weights(task: loop.Task, state: step.State, batch: types.Batch) -> list[str]:
    """Compares what the terms contribute, each at the largest weight of its schedule.

    A term that is 0 waits for something, as auxk does for latents that are dead.
    """
    last = task.plan.num_steps - 1
    places = [jnp.asarray(round(last * share), jnp.int32) for share in np.linspace(0, 1, 11)]
    size = {
        name: float(value)
        * max(float(schedule.value(task.method.terms[name].weight, p)) for p in places)
        for name, value in step.loss_terms(task.method, state, batch).items()
    }
    whole = {name: value for name, value in size.items() if name.startswith("mse")}
    if not whole:
        return []
    reconstruction = max(whole.values())
    return [
        f"at the start {name} is {value / reconstruction:.2g} times the reconstruction: "
        + ("it will outweigh it" if value > reconstruction else "it will do nothing")
        + f"; is config.loss.{name} in the right units (sums over d, not means)?"
        for name, value in size.items()
        if name not in whole and value and not 1e-4 * reconstruction < value < 10 * reconstruction
    ]
