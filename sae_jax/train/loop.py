"""The training loop of a run: many steps in one dispatch, metrics fetched one dispatch late."""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from sae_jax import errors, mesh as meshes, types
from sae_jax.data import base
from sae_jax.ops import per_member
from sae_jax.train import calibrate, checkpoint, evaluate, feed, progress, step, writer

_INIT_EXAMPLES = 16_384
_NORMALISER_EXAMPLES = 131_072
_SOUNDNESS_EXAMPLES = 256
_SOUNDNESS_CODES = 2**24  # Of all latents at once, so that a check needs less than a step.


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a run goes on and what happens meanwhile, all in optimiser steps.

    Attributes:
      seed: fixes initial parameters, data order and every random choice.
      num_steps: when it ends.
      batch_size: examples in a step, over all devices.
      log_every: a row of metrics.
      eval_every: an evaluation, besides the one at the end; 0 for none.
      checkpoint_every: a checkpoint, besides the one at the end.
    """

    seed: int
    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    checkpoint_every: int

    def next_stop(self, now: int, window: int | None) -> int:
        """Returns the next step after `now` at which something else than training is due."""
        periods = [self.log_every, self.eval_every, self.checkpoint_every]
        stops = [(now // period + 1) * period for period in periods if period]
        if window is not None:
            stops.append((now // window + 1) * window)
        return min([*stops, self.num_steps])

    def due(self, every: int, now: int) -> bool:
        """Returns whether what happens `every` so many steps happens after step `now`."""
        return now == self.num_steps or (every > 0 and now % every == 0)


@dataclasses.dataclass(frozen=True)
class Task:
    """A method on its data: what a run is, but for where it is kept.

    Attributes:
      method: what is trained.
      data: what it is trained on.
      evaluations: by name.
      plan: how long.
      mesh: over which devices.
      latent_axes: the axis of each parameter that counts latents.
      calibration: what thresholds are set to after the last step; None: they are left.
    """

    method: step.Method
    data: base.Dataset
    evaluations: Mapping[str, evaluate.Evaluation]
    plan: Plan
    mesh: Mesh
    latent_axes: Mapping[str, int]
    calibration: calibrate.Calibration | None = None


class Preempted(Exception):
    """The run was asked to stop, has saved its state, and goes on when it is started again."""


def template(task: Task) -> step.State:
    """Returns shape, type and sharding of each array of the state."""
    shapes = jax.eval_shape(_initialiser(task), *init_shapes(task))
    where = meshes.shardings(task.mesh, shapes, {**task.latent_axes, "idle": 0})
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        where,
    )


def initialise(task: Task, like: step.State) -> step.State:
    """Returns the state before the first step, each array made where it will lie."""
    return starter(task, like)(*init_arguments(task))


def starter(task: Task, like: step.State) -> per_member.Program:
    """Returns the program that makes the state before the first step of `init_arguments`."""
    where = jax.tree.map(lambda leaf: leaf.sharding, like)
    return per_member.jit(meshes.over(task.mesh, _initialiser(task)), out_shardings=where)


def program(task: Task, source: feed.Feed, like: step.State) -> Any:
    """Returns what `runner` returns, jitted."""
    where = jax.tree.map(lambda leaf: leaf.sharding, like)
    whole = meshes.replicated(task.mesh)
    run = meshes.over(task.mesh, runner(task, source))
    return jax.jit(run, donate_argnums=0, out_shardings=(where, whole))


def runner(task: Task, source: feed.Feed) -> Callable[..., tuple[step.State, step.Metrics]]:
    """Returns `run(state, payload, first, until) -> (state, metrics of the last step)`.

    The number of steps is an argument, not part of the compiled program: however a run is cut into
    dispatches, each step is the same machine code, and the result the same bits.
    """
    take = step.make(task.method)

    def run(state: step.State, payload: Any, first: jax.Array, until: jax.Array) -> Any:
        def body(now: jax.Array, carry: tuple) -> tuple:
            return take(carry[0], source.batch(payload, first, now))

        metrics = jax.eval_shape(lambda: body(state.step, (state, None))[1])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)
        return jax.lax.fori_loop(first, until, body, (state, zeros))

    return run


def train(
    task: Task,
    state: step.State,
    checkpoints: checkpoint.Checkpoints,
    rows: writer.Writer | writer.Silent,
    bar: progress.Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[step.State, dict[str, evaluate.Totals]]:
    """Trains from `state` to the end of the plan.

    Args:
      task: what to train.
      state: where to begin; it is donated.
      checkpoints: where states are saved.
      rows: where metrics go.
      bar: what shows them while the run goes on.
      stop: asked after each dispatch; when it says True, the state is saved and the run ends.

    Returns:
      The state after the last step, and what its evaluations found, by name: nothing if the plan
      had ended before.

    Raises:
      DivergedError: the loss is no longer finite; no such state is ever saved.
      Preempted: `stop` said so.
    """
    plan = task.plan
    source = feed.make(task.data, task.mesh, plan.batch_size, plan.seed, plan.log_every)
    run = program(task, source, state)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    check, examples = soundness(task, state.idle.size)
    # Programs with collectives that pile up on several CPU devices can hang for ever.
    in_step = task.mesh.size > 1 and task.mesh.devices.flat[0].platform == "cpu"
    report = _Report(plan, rows, bar)
    now = int(state.step)
    totals: dict[str, evaluate.Totals] = {}
    try:
        while now < plan.num_steps:
            first, now = now, plan.next_stop(now, source.window)
            following = plan.next_stop(now, source.window)
            state, metrics = run(state, source.payload(first, now, following), first, now)
            report.add(now, metrics)
            stopping = stop() or checkpoints.preempted()
            evaluating = plan.due(plan.eval_every, now)
            saving = stopping or plan.due(plan.checkpoint_every, now)
            report.catch_up(until_last=not (evaluating or saving or in_step))
            if (evaluating or saving) and not bool(check(state, examples)):
                raise diverged(now, {})
            if now == plan.num_steps and task.calibration is not None:
                state = calibrate.thresholds(task.method, state, task.calibration, task.mesh)
            if evaluating:
                totals = evaluator.all_totals(task.evaluations, state)
                rows.write(now, finish(task, totals))
            if saving:
                rows.flush()
                checkpoints.save(now, state)
            if stopping:
                checkpoints.wait()
                raise Preempted(f"stopped after step {now} of {plan.num_steps}, and saved it")
        checkpoints.wait()
    except errors.DivergedError:
        checkpoints.wait()  # What is being saved is from before, and good.
        raise
    finally:
        source.close()
    return state, totals


def finish(task: Task, totals: Mapping[str, evaluate.Totals]) -> dict[str, float]:
    """Returns the numbers of a task's evaluations, as "<evaluation>/<metric>"."""
    numbers: dict[str, float] = {}
    for name, evaluation in task.evaluations.items():
        found = evaluate.finish(evaluation, totals[name])
        numbers |= {f"{name}/{metric}": value for metric, value in found.items()}
    return numbers


def record(
    plan: Plan, rows: writer.Writer | writer.Silent, now: int, numbers: dict[str, float]
) -> None:
    """Writes the metrics of step `now` where a row is due; raises if they are not finite."""
    if not math.isfinite(numbers["loss"] + numbers["grad_norm"]):
        raise diverged(now, numbers)
    if plan.due(plan.log_every, now):
        rows.write(now, {f"train/{name}": value for name, value in numbers.items()})


class _Report:
    """Turns the metrics of dispatches into rows, one dispatch after they were asked for."""

    def __init__(
        self, plan: Plan, rows: writer.Writer | writer.Silent, bar: progress.Progress | None
    ) -> None:
        self._plan, self._rows, self._bar = plan, rows, bar
        self._waiting: list[tuple[int, step.Metrics]] = []

    def add(self, now: int, metrics: step.Metrics) -> None:
        """Keeps the metrics of step `now`, which may still be in the making."""
        self._waiting.append((now, metrics))

    def catch_up(self, until_last: bool) -> None:
        """Writes what waits, but for the last if `until_last`; waits for the devices."""
        keep = 1 if until_last else 0
        while len(self._waiting) > keep:
            now, metrics = self._waiting.pop(0)
            numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
            record(self._plan, self._rows, now, numbers)
            if self._bar is not None:
                self._bar.update(now, numbers)


def soundness(task: Task, latents: int) -> tuple[per_member.Program, types.Batch]:
    """Returns what tells whether a state is worth keeping, and the examples it is told by.

    It and its loss are finite: the metrics of a step are of the state before it, so they say
    nothing of the state after it.
    """
    most = max(1, min(_SOUNDNESS_EXAMPLES, _SOUNDNESS_CODES // latents))
    examples = base.first(task.data, min(task.plan.batch_size, most))
    whole = meshes.replicated(task.mesh)
    batch = jax.tree.map(lambda array: feed.put(np.asarray(array), whole), examples)

    def sound(state: step.State, batch: types.Batch) -> jax.Array:
        numbers = (
            state.params,
            state.opt_state,
            state.stats,
            step.loss_terms(task.method, state, batch),
        )
        return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(numbers)]).all()

    return per_member.jit(meshes.over(task.mesh, sound), out_shardings=whole), batch


def init_arguments(task: Task) -> tuple[Any, ...]:
    """Returns what the program of `starter` is given: seed, normaliser and first examples."""
    return _init_arguments(task, fit=True)


def init_shapes(task: Task) -> tuple[Any, ...]:
    """Returns `init_arguments` without a fit of the normaliser: good for their shapes."""
    return _init_arguments(task, fit=False)


def _initialiser(task: Task) -> Callable[..., step.State]:
    return lambda seed, normaliser, x: step.init(task.method, seed, normaliser, x)


def _init_arguments(task: Task, fit: bool) -> tuple[Any, ...]:
    """Returns seed, normaliser and first examples; shapes of the latter two do not need a fit."""
    data = task.data

    def examples(count: int) -> list[np.ndarray]:
        count = min(count, data.length)
        order = data.order(task.plan.seed, np.asarray(0), count)
        parts = [data.rows(order[i : i + 4096]) for i in range(0, count, 4096)]
        decode = jax.jit(data.decode)
        return [np.asarray(decode(jax.tree.map(jnp.asarray, raw)).x) for raw in parts]

    sample = examples(_INIT_EXAMPLES)
    fitting = (lambda: examples(_NORMALISER_EXAMPLES)) if fit else (lambda: sample)
    normaliser = task.method.normaliser.fit(fitting)
    return np.uint32(task.plan.seed), normaliser, np.concatenate(sample)


def diverged(now: int, numbers: dict[str, float]) -> errors.DivergedError:
    """Returns what a run ends with whose loss or state is not finite after step `now`."""
    terms = ", ".join(f"{name}={value:.4g}" for name, value in numbers.items() if "loss" in name)
    what = f"the loss ({terms})" if terms else "the state, or its loss,"
    return errors.DivergedError(
        f"{what} is not finite after step {now}: lower config.optim.learning_rate or set "
        "config.optim.clip_norm; no such state was saved, and checkpoints from before are kept"
    )
