"""Trains several runs by one program on one stream of batches, each as if it were alone.

Members are spread over the devices; no number goes from one to another. Those that share a device
take their steps side by side (`jax.vmap`), or, on a CPU, whose caches hold one member better than
all, one after the other from one stop to the next.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import statistics
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from sae_jax import errors, mesh as meshes
from sae_jax.ops import per_member
from sae_jax.train import calibrate, checkpoint, evaluate, feed, loop, progress, step, writer

_MINE, _WHOLE = PartitionSpec("data"), PartitionSpec()


@dataclasses.dataclass
class Member:
    """One of the runs.

    Attributes:
      task: what it is by itself, on one device.
      state: as it was saved last, or before the first step.
      checkpoints: where states are saved.
      rows: where metrics go.
      totals: what its evaluations found last, by name.
      error: why it does not go on; None: it does.
    """

    task: loop.Task
    state: step.State
    checkpoints: checkpoint.Checkpoints
    rows: writer.Writer | writer.Silent
    totals: dict[str, evaluate.Totals] = dataclasses.field(default_factory=dict)
    error: errors.UserError | None = None


def refuse(joined: loop.Task) -> None:
    """Raises, whatever comes, if no one program can serve all members of `joined`."""
    seed, data, size = joined.plan.seed, joined.data, joined.plan.batch_size
    if isinstance(seed, per_member.PerMember) and not data.resident:
        raise per_member.DiffersError("seed: the data do not lie on the device, and have one order")

    def all_of_it(member: jax.Array, now: jax.Array, normaliser: Any, raw: Any) -> Any:
        with per_member.member(member):
            batch = data.decode(raw)
            order = data.order(seed, now, size) if data.resident else None
            state = step.init(joined.method, now, normaliser, batch.x)
            moved, metrics = step.make(joined.method)(state, batch)
            output = step.reconstruct(joined.method, step.at_rest(joined.method, moved), batch)
            return order, moved, metrics, output.x_hat

    raw = data.rows(np.zeros(size, np.int32))
    normaliser = joined.method.normaliser.fit(lambda: [np.asarray(jax.jit(data.decode)(raw).x)])
    number = jax.ShapeDtypeStruct((), np.int32)
    jax.eval_shape(all_of_it, number, number, normaliser, raw)


def initialise(joined: loop.Task, members: Sequence[loop.Task]) -> list[step.State]:
    """Returns the state of each member before the first step."""
    make = loop.starter(joined, loop.template(members[0]))
    places: dict[int, list[int]] = {}
    for place, task in enumerate(members):
        places.setdefault(task.plan.seed, []).append(place)
    states = {}
    for alike in places.values():  # Members of one seed begin with the same examples.
        given = loop.init_arguments(members[alike[0]])
        for place in alike:
            with per_member.member(place):
                states[place] = make(*given)
    return [states[place] for place in range(len(members))]


def train(
    joined: loop.Task,
    members: Sequence[Member],
    evaluator: evaluate.Evaluator,
    bar: progress.Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains all members from their states, which are of one step, to the end of the plan.

    A member that fails, because its loss is no longer finite or its folder cannot be written, has
    its `error` set, and the others go on.

    Args:
      joined: the task of all members, on one device; what they do not share is `PerMember`.
      members: in the order of those numbers.
      evaluator: of `joined`.
      bar: what shows the mean of their metrics while they go on.
      stop: asked after each dispatch; when it says True, the states are saved and the run ends.

    Raises:
      Preempted: `stop` said so.
    """
    plan = joined.plan
    mesh = _mesh(len(members))
    source = feed.make(joined.data, mesh, plan.batch_size, plan.seed, plan.log_every, split=False)
    run = _program(joined, source, mesh)
    check, examples = loop.soundness(joined, members[0].state.idle.size)

    def sound(state: step.State) -> bool:
        return bool(check(state, examples))

    places = feed.put(np.arange(len(members), dtype=np.uint32), NamedSharding(mesh, _MINE))
    now = int(members[0].state.step)
    states = _stacked([member.state for member in members], mesh)
    waiting: list[tuple[int, step.Metrics]] = []
    try:
        while now < plan.num_steps and any(member.error is None for member in members):
            first, now = now, plan.next_stop(now, source.window)
            payload = source.payload(first, now, plan.next_stop(now, source.window))
            states, metrics = run(places, states, payload, first, now)
            waiting.append((now, metrics))
            stopping = stop()
            saving = stopping or plan.due(plan.checkpoint_every, now)
            at_rest = saving or plan.due(plan.eval_every, now)
            while len(waiting) > (0 if at_rest else 1):
                _record(*waiting.pop(0), members, plan, bar)
            if at_rest:
                _halt(joined, members, states, now, saving, evaluator, sound)
            if stopping:
                raise loop.Preempted(f"stopped after step {now} of {plan.num_steps}, and saved it")
    finally:
        for member in members:
            with _failing(member):
                member.checkpoints.wait()
        source.close()


def _mesh(count: int) -> Mesh:
    """Returns a mesh over as many devices as `count` members can be spread over evenly."""
    return meshes.first(max(n for n in range(1, jax.device_count() + 1) if count % n == 0))


def _side_by_side(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform != "cpu"


def _program(joined: loop.Task, source: feed.Feed, mesh: Mesh) -> Any:
    """Returns `run(places, states, payload, first, until) -> (states, metrics)`, jitted.

    Each of `places`, `states` and metrics is that of all members, `[members, ...]`.
    """
    run = loop.runner(joined, source)

    def one(
        payload: Any, first: jax.Array, until: jax.Array, place: jax.Array, state: step.State
    ) -> tuple[step.State, step.Metrics]:
        with per_member.member(place):
            state, metrics = run(_with_key(state), payload, first, until)
        return _with_bits(state), metrics

    def local(
        places: jax.Array, states: step.State, payload: Any, first: jax.Array, until: jax.Array
    ) -> tuple[step.State, step.Metrics]:
        of = functools.partial(one, payload, first, until)
        if _side_by_side(mesh):
            return jax.vmap(of)(places, states)
        return jax.lax.map(lambda member: of(*member), (places, states))

    spread = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(_MINE, _MINE, _WHOLE, _WHOLE, _WHOLE),
        out_specs=_MINE,
        check_vma=False,
    )
    return jax.jit(spread, donate_argnums=1)


def _record(
    now: int,
    metrics: step.Metrics,
    members: Sequence[Member],
    plan: loop.Plan,
    bar: progress.Progress | None,
) -> None:
    """Writes the metrics of step `now`, each member's where its rows go; waits for the devices."""
    found = jax.device_get(metrics)
    shown = []
    for place, member in enumerate(members):
        numbers = {name: float(values[place]) for name, values in found.items()}
        if member.error is None:
            with _failing(member):
                loop.record(plan, member.rows, now, numbers)
                shown.append(numbers)
    if bar is not None and shown:
        mean = {name: statistics.fmean(some[name] for some in shown) for name in found}
        bar.update(now, mean)


def _halt(
    joined: loop.Task,
    members: Sequence[Member],
    states: step.State,
    now: int,
    saving: bool,
    evaluator: evaluate.Evaluator,
    sound: Callable[[step.State], bool],
) -> None:
    """Evaluates and saves what is due after step `now`, member by member."""
    plan = joined.plan
    host = jax.device_get(states)
    for place, member in enumerate(members):
        if member.error is not None:
            continue
        with _failing(member), per_member.member(place):
            state = _of_member(host, place, joined.mesh)
            if not sound(state):
                raise loop.diverged(now, {})
            if now == plan.num_steps and member.task.calibration is not None:
                calibration = member.task.calibration
                state = calibrate.thresholds(joined.method, state, calibration, joined.mesh)
            if plan.due(plan.eval_every, now):
                member.totals = evaluator.all_totals(joined.evaluations, state)
                member.rows.write(now, loop.finish(joined, member.totals))
            if saving:
                member.rows.flush()
                member.checkpoints.save(now, state)
            member.state = state


@contextlib.contextmanager
def _failing(member: Member) -> Iterator[None]:
    """Notes what a person can mend as the end of one member, so that the others go on."""
    try:
        yield
    except errors.UserError as error:
        member.error = error


def _stacked(states: Sequence[step.State], mesh: Mesh) -> step.State:
    """Returns the states of all members as one, `[members, ...]`, spread over the mesh."""
    hosted = [jax.device_get(_with_bits(state)) for state in states]
    where = NamedSharding(mesh, _MINE)
    return jax.tree.map(lambda *leaves: feed.put(np.stack(leaves), where), *hosted)


def _of_member(host: step.State, place: int, mesh: Mesh) -> step.State:
    """Returns the state of one member, on the mesh, of those of all."""
    whole = meshes.replicated(mesh)
    return _with_key(jax.tree.map(lambda leaf: jax.device_put(leaf[place], whole), host))


def _with_bits(state: step.State) -> step.State:
    """Returns the state with its key as an array of integers, which can lie anywhere."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


def _with_key(state: step.State) -> step.State:
    return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))
