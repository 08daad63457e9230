"""What a run needs of each device's memory: as much as that of its programs that needs most."""

import math
from typing import Any

import jax

from sae_jax.train import evaluate, feed, loop, step

PyTree = Any


def needs(task: loop.Task, state: step.State, source: feed.Feed, payload: PyTree) -> dict[str, int]:
    """Returns bytes on each device while each of a run's programs runs, by what it does.

    Counted is everything that lies there meanwhile: what a program is given and what it makes,
    what it writes down in between, and the state and the data that wait for the next step. No
    program is run, but all are compiled; where a compiler does not tell, its part is missing.

    Args:
      task: what is trained.
      state: before the first step.
      source: of the batches.
      payload: of a dispatch, arrays or their shapes, types and shardings.
    """
    moving = bytes_of(state)
    # The next window is brought while the last one is in use.
    beside = bytes_of(payload) if isinstance(source, feed.Streamed) else 0
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    if task.mesh.devices.flat[0].platform == "cpu" and task.plan.checkpoint_every:
        beside += moving  # What is being saved is copied first, to where the state itself lies.
    check, examples = loop.soundness(task, state.idle.size)
    held = moving + bytes_of(payload) + beside
    found = {
        "training": beside + _size(loop.program(task, source, like).lower(like, payload, 0, 1)),
        "the start": _size(loop.starter(task, like).lower(*loop.init_shapes(task))),
        "a check": held - moving + _size(check.lower(like, examples)),
    }
    at_rest = step.at_rest(task.method, state)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    for name, evaluation in task.evaluations.items():
        size = _size(evaluator.lowered(evaluation, at_rest))
        own = 0 if at_rest.params is state.params else bytes_of(at_rest.params)
        found[f"evaluation {name}"] = held + own + size - bytes_of(at_rest)
    return found


def bytes_of(tree: PyTree) -> int:
    """Returns the bytes of arrays, or of their shapes, that lie on one device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
        total += math.prod(leaf.sharding.shard_shape(leaf.shape)) * size
    return total


def _size(lowered: Any) -> int:
    """Returns the bytes of a program's arguments, results and all that it writes down."""
    memory = lowered.compile().memory_analysis()
    if memory is None:
        return 0
    made = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return (
        memory.argument_size_in_bytes
        + made
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
