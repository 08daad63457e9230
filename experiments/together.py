r"""Trains several runs by one program: what `launch.local --together` starts.

python -m experiments.together \
    --trial="--config=configs/sparse_mnist.py --workdir=runs/a --config.loss.l1.value=0.2" \
    --trial="--config=configs/sparse_mnist.py --workdir=runs/b --config.loss.l1.value=0.4"

A trial is what `experiments.main` would be given, and its folder ends up with all that it would
hold, and goes on from where it was stopped, by either program. Runs that one program cannot train
together are trained one after the other.

Exit status: 0 all runs are finished, 2 some failed, 143 stopped; the same command goes on.
"""

from collections.abc import Iterator, Sequence
from concurrent import futures
import contextlib
import dataclasses
import os
from pathlib import Path
import shlex
import sys

from absl import flags
import jax
import ml_collections
from ml_collections import config_flags

from experiments import artists, build, checks, cli, join, report, run, stores, workdir
from sae_jax import errors
from sae_jax.ops import per_member
from sae_jax.train import checkpoint, ensemble, evaluate, loop, progress, step, writer

_TRIALS = flags.DEFINE_multi_string(
    "trial", [], "What experiments.main would be given; one --trial for each run."
)


@dataclasses.dataclass
class _Run:
    """One of the runs, from its flags to its last state."""

    folder: Path
    config: ml_collections.ConfigDict
    values: build.Group
    task: loop.Task | None = None
    checkpoints: checkpoint.Checkpoints | None = None
    state: step.State | None = None
    new: bool = False  # Whether its folder was made now.
    failed: bool = False
    done: bool = False


def main() -> int:
    """Trains all runs that are not finished; returns the exit status."""
    if not _TRIALS.value:
        raise errors.UserError('which runs? --trial="--config=... --workdir=...", once for each')
    runs = [_parsed(text) for text in _TRIALS.value]
    cpus = int(os.environ.get("NPROC", os.cpu_count() or 1))
    if "JAX_NUM_CPU_DEVICES" not in os.environ:  # So members train side by side, a core each.
        jax.config.update("jax_num_cpu_devices", cpus)
    cli.use_compilation_cache()
    stop, load = cli.Stop(), join.Loader()
    with contextlib.ExitStack() as claims:
        pictures = artists.Artists(min(cpus, len(runs)))
        claims.callback(pictures.close)
        for each_run in runs:
            with _failing(each_run):
                _begin(each_run, claims, load)
        try:
            for group in _groups(runs, load):
                _train(group, load, stop, pictures)
        except loop.Preempted as reason:
            print(f"{reason}: the same command goes on", file=sys.stderr)
            return cli.EXIT_PREEMPTED
    return cli.EXIT_ERROR if any(each_run.failed for each_run in runs) else 0


def _parsed(text: str) -> _Run:
    """Returns the run that flags of `experiments.main` describe."""
    values, argv = flags.FlagValues(), ["experiments.main", *shlex.split(text)]
    config_flags.DEFINE_config_file(
        "config", None, "", flag_values=values, lock_config=True, sys_argv=argv
    )
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        extra = values(argv)[1:]
    except Exception as error:
        raise errors.UserError(f'--trial="{text}": {cli.flag_error(error)}') from error
    if extra or values.workdir is None or values.config is None:
        raise errors.UserError(f'--trial="{text}": it needs --config=... and --workdir=..., alone')
    return _Run(Path(values.workdir), values.config, build.plain(values.config))


def _begin(started: _Run, claims: contextlib.ExitStack, load: join.Loader) -> None:
    """Prepares the folder of a run and loads its data, if it is not finished."""
    folder = started.folder
    workdir.refuse_foreign(folder)
    claims.enter_context(workdir.claimed(folder))
    started.new = not (folder / "config.json").exists()
    if workdir.prepare(folder, started.config):
        started.done = True
        return
    stores.write_missing(started.config)
    started.task = join.task([started.values], load)
    checks.refuse_problems(started.task)
    workdir.refuse_other_data(folder, started.task)
    keep = started.config.keep_checkpoints
    started.checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep)


def _groups(runs: Sequence[_Run], load: join.Loader) -> Iterator[list[_Run]]:
    """Yields runs that one program trains, with their states, all of one step."""
    left = [each_run for each_run in runs if not each_run.failed and not each_run.done]
    for places, why in join.groups([each_run.values for each_run in left], load):
        group = [left[place] for place in places]
        if why:
            print(f"{why}: another program, for {len(group)} of {len(left)} runs", flush=True)
        _restore(group, load)
        alive = [each_run for each_run in group if each_run.state is not None]
        steps = [int(each_run.state.step) for each_run in alive if each_run.state is not None]
        for now in sorted(set(steps)):
            part = [r for r, its in zip(alive, steps, strict=True) if its == now]
            if len(part) < len(alive):
                print(f"{len(part)} of {len(alive)} runs go on from step {now}", flush=True)
            yield part


def _restore(group: Sequence[_Run], load: join.Loader) -> None:
    """Finds the newest state of each run, or makes its first."""
    assert group[0].task is not None
    like = loop.template(group[0].task)
    for each_run in group:
        assert each_run.checkpoints is not None
        with _failing(each_run):
            each_run.state = each_run.checkpoints.restore(like, set_aside=True)
    new = [r for r in group if r.state is None and not r.failed]
    if not new:
        return
    tasks = [r.task for r in new if r.task is not None]
    states = ensemble.initialise(join.task([r.values for r in new], load), tasks)
    for each_run, state in zip(new, states, strict=True):
        each_run.state = state


def _train(
    group: Sequence[_Run], load: join.Loader, stop: cli.Stop, pictures: artists.Artists
) -> None:
    """Trains a group to its end, and writes the results of each run."""
    joined = join.task([each_run.values for each_run in group], load)
    evaluator = evaluate.Evaluator(joined.method, joined.mesh)
    members = [_member(each_run, joined) for each_run in group]
    now, plan = int(members[0].state.step), joined.plan
    print(f"{len(group)} runs of {plan.num_steps:,} steps, by one program", flush=True)
    bar = progress.Progress(plan.num_steps, plan.batch_size * len(group), now)
    try:
        ensemble.train(joined, members, evaluator, bar, stop)
    finally:
        for member in members:
            member.rows.close()
        bar.close()
    drawn = []
    for place, (each_run, member) in enumerate(zip(group, members, strict=True)):
        with _failing(each_run), per_member.member(place):
            member.checkpoints.close()
            if member.error is not None:
                raise member.error
            drawn.append((each_run, _publish(each_run, member, evaluator, pictures)))
    for each_run, files in drawn:
        with _failing(each_run):
            _finish(each_run, files)
    for each_run in group:  # The next group needs the room.
        each_run.state = each_run.task = each_run.checkpoints = None


def _member(each_run: _Run, joined: loop.Task) -> ensemble.Member:
    """Returns a run as a member, and says in its log that it begins."""
    task, state, checkpoints = each_run.task, each_run.state, each_run.checkpoints
    assert task is not None
    assert state is not None
    assert checkpoints is not None
    now = int(state.step)
    with _log(each_run):
        report.announce(task, each_run.folder, state, resumed=now)
    task = dataclasses.replace(task, evaluations=joined.evaluations)  # Compiled once.
    return ensemble.Member(task, state, checkpoints, writer.Writer(each_run.folder, now))


def _publish(
    each_run: _Run,
    member: ensemble.Member,
    evaluator: evaluate.Evaluator,
    pictures: artists.Artists,
) -> list[futures.Future]:
    """Writes the results of a run, and begins to draw its pictures."""
    with _writing(each_run):
        view = run.view(each_run.folder, member.task, member.state, member.totals, evaluator)
        report.write_results(view)
        return pictures.draw(view)


def _finish(each_run: _Run, files: Sequence[futures.Future]) -> None:
    """Waits for the pictures of a run and marks it done."""
    with _writing(each_run):
        for file in files:
            file.result()
        with _log(each_run):
            report.conclude(each_run.folder)
    each_run.done = True
    print(f"{each_run.folder} is finished", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _writing(each_run: _Run) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.UserError(
            f"cannot write the results to {each_run.folder} ({error.strerror}): make room or mend "
            "the folder, then run the same command; the trained state is saved"
        ) from error


@contextlib.contextmanager
def _failing(each_run: _Run) -> Iterator[None]:
    """Notes what a person can mend as the end of one run, so that the others go on."""
    try:
        yield
    except errors.UserError as error:
        each_run.failed = True
        line = f"error: {' '.join(str(error).split())}"
        print(f"{each_run.folder}: {line}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError), _log(each_run):
            print(line)
        if each_run.new:
            workdir.take_back(each_run.folder)


@contextlib.contextmanager
def _log(each_run: _Run) -> Iterator[None]:
    """Sends what is printed to the log of a run."""
    with (each_run.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        yield


if __name__ == "__main__":
    cli.run(main)
