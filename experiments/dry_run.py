"""Says what a config would do: shapes, bytes on each device, arithmetic, and what looks wrong."""

import math
from typing import Any

import jax
import ml_collections
import numpy as np

from experiments import build, checks
from sae_jax.data import stream
from sae_jax.train import feed, loop, memory, step


def show(config: ml_collections.ConfigDict) -> int:
    """Prints the report; returns the exit status, 0 if the run is possible."""
    task = build.task(config)
    problems = checks.problems(task)
    for line in _data(task) + ([] if problems else _program(task)):
        print(line)
    for problem in problems:
        print(f"impossible: {problem}")
    return 2 if problems else 0


def _data(task: loop.Task) -> list[str]:
    data, plan, spec = task.data, task.plan, task.data.spec
    size = _bytes(sum(array.nbytes for array in data.source.values()))
    where = f"{size} on {'each device' if data.resident else 'the host, read batch by batch'}"
    if isinstance(data, stream.Stream):
        where = f"made by the language model, {data.window(plan.batch_size):,} at a time"
    mesh = " x ".join(f"{axis} {size}" for axis, size in task.mesh.shape.items())
    epochs = plan.num_steps / max(1, data.length // plan.batch_size)
    lines = [
        f"data        {spec.name} {spec.split}: {data.length:,} x {spec.d_in}, {where}",
        f"steps       {plan.num_steps:,} of {plan.batch_size} examples, {epochs:.1f} epochs",
        f"devices     {task.mesh.size} {jax.devices()[0].platform}, mesh {mesh}",
    ]
    for name, evaluation in task.evaluations.items():
        lines.append(
            f"evaluation  {name}: {evaluation.data.spec.split}, {evaluation.data.length:,} examples"
            f", {', '.join(evaluation.metrics)}"
        )
    return lines


def _program(task: loop.Task) -> list[str]:
    like = loop.template(task)
    lines = [
        f"parameter   {name:<12}{' x '.join(map(str, leaf.shape)):>16}  {leaf.dtype}"
        f"  {_spread(leaf.sharding)}"
        for name, leaf in _named(like.params)
    ]
    count = sum(leaf.size for leaf in jax.tree.leaves(like.params))
    lines.append(f"parameters  {count:,}")
    parts = {name: memory.bytes_of(getattr(like, name)) for name in ("params", "opt_state")}
    lines.append(
        f"state       {_bytes(memory.bytes_of(like))} on each device: parameters "
        f"{_bytes(parts['params'])}, optimiser {_bytes(parts['opt_state'])}"
    )
    plan = task.plan
    source = feed.make(task.data, task.mesh, plan.batch_size, plan.seed, plan.log_every)
    # What a language model takes minutes to make is not made for its shape.
    payload = source.like() if isinstance(source, feed.Refilled) else source.payload(0, 1, 1)
    state = loop.initialise(task, like)
    needs = memory.needs(task, state, source, payload)
    source.close()
    most = max(needs, key=lambda name: needs[name])
    rest = ", ".join(f"{name} {_bytes(size)}" for name, size in needs.items() if name != most)
    lines.append(
        f"memory      {_bytes(needs[most])} on each device at most, data included: {most}; {rest}"
    )
    lines.append(f"arithmetic  {_flop(task, state):.3g} GFLOP a step, over all devices")
    return lines + [f"warning: {warning}" for warning in checks.warnings(task, state)]


def _flop(task: loop.Task, state: step.State) -> float:
    """Returns 10^9 floating-point operations of one step, counted before the compiler optimises."""
    raw = task.data.rows(np.zeros(task.plan.batch_size, np.int32))
    batch = jax.eval_shape(task.data.decode, raw)
    analysis: Any = jax.jit(step.make(task.method)).lower(state, batch).cost_analysis()
    return float((analysis or {}).get("flops", math.nan)) / 1e9


def _named(params: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    return [("/".join(str(entry.key) for entry in path), leaf) for path, leaf in paths]


def _spread(sharding: jax.sharding.NamedSharding) -> str:
    if "dictionary" not in tuple(sharding.spec) or sharding.mesh.shape["dictionary"] == 1:
        return "whole on every device"
    return f"split over {sharding.mesh.shape['dictionary']} devices"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
