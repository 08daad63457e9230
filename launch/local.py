r"""Runs the trials of sweeps side by side on this machine.

python -m launch.local --config=configs/sparse_mnist.py --sweep=l1
python -m launch.local --config=configs/sparse_mnist.py --sweep=l1,width --devices=0,1,2,3
python -m launch.local --config=configs/sparse_mnist.py --sweep=l1 --together
python -m launch.local --config=configs/sparse_mnist.py --sweep=l1 --only=seed=0 --dry_run
python -m launch.local --config=configs/sparse_mnist.py --sweep=l1 -- --config.num_steps=10

Finished trials are skipped and unfinished ones go on, so after a failure or an interruption the
same command is run again. Each trial writes to `log.txt` in its folder. In the end stand a table
of all finished trials and `table.md` and `table.csv` in the folder of the sweep.

With --together one process trains all trials, as many as can by one program at once, spread over
all devices; what it has to say stands in `together.txt` in the folder of the runs.

Exit status: 0 all trials are finished, 1 some failed, 2 the command was wrong, 128 + the number of
the signal if it was stopped.
"""

import collections
from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import BinaryIO

from absl import flags

from launch import table, trials as trials_lib
from sae_jax import errors

_GRACE = 60.0  # Seconds that each of the stopped trials of a process has for saving.
_POLL = 0.05  # Seconds between two looks at the children.


def main(
    argv: Sequence[str],
    *,
    program: tuple[str, ...] = trials_lib.PROGRAM,
    together: tuple[str, ...] = trials_lib.TOGETHER,
) -> int:
    """Runs the command line (without the program's name) and returns the exit status."""
    try:
        return _main(argv, program, together)
    except (errors.UserError, flags.Error) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2


def _main(argv: Sequence[str], program: tuple[str, ...], together: tuple[str, ...]) -> int:
    """Does what `main` does, but raises errors."""
    values = _flags()
    extra = values(["launch.local", *argv])[1:]
    if values.help:
        print(f"{__doc__}\n{values.get_help()}")
        return 0
    if not values.config:
        raise errors.UserError("no config file is given; add --config=configs/<name>.py")
    root = values.root or _root(values.config)
    trials = trials_lib.make(values.config, values.sweep, root, program=program, extra=extra)
    trials_lib.check_finished(trials)
    chosen = [trial for trial in trials if values.only in trial.name]
    if not chosen:
        names = ", ".join(trial.name for trial in trials[:3])
        raise errors.UserError(f'--only="{values.only}" matches no trial; some are: {names}')
    todo = [trial for trial in chosen if not trials_lib.finished(trial)]
    work = [_Work([trial], trial.argv, trial.workdir / "log.txt") for trial in todo]
    places = _places(values.devices, values.workers, values.threads)
    if values.together:
        if values.workers is not None:
            raise errors.UserError("--together is one process: leave out --workers")
        work = _together(todo, pathlib.Path(root, "together.txt"), program, together)
        places = _places([",".join(values.devices)] if values.devices else [], 1, values.threads)
    if values.dry_run:
        print("".join(f"{shlex.join(some.argv)}\n" for some in work), end="")
        return 0
    pool = _Pool(places, _Screen(total=len(chosen), done=len(chosen) - len(todo)))
    pool.run(work)
    if pool.signals:
        left = sum(not trials_lib.finished(trial) for trial in chosen)
        print(f"stopped; {left} of {len(chosen)} trials are left. Run the same command to go on.")
        return 128 + pool.signals[0]
    print(table.publish(trials), end="")
    return 1 if pool.failed else 0


def _root(config: str) -> str:
    """Returns the folder of the runs of a config."""
    path, _, arg = config.partition(":")
    stem = pathlib.Path(path).stem
    # Runs of a variant of the config, such as debug, must not pass for runs of the config.
    return f"runs/{stem}" + (f"-{re.sub(r'[^A-Za-z0-9_.-]+', '_', arg)}" if arg else "")


def _flags() -> flags.FlagValues:
    """Returns the flags, apart from absl's global ones: other programs define --config too."""
    to = flags.FlagValues()
    flags.DEFINE_string("config", "", "Config file, with :arg if wanted.", to)
    flags.DEFINE_string("sweep", "", "Names of its sweeps, separated by commas.", to)
    flags.DEFINE_string("root", "", "Folder of the runs. Default: runs/<config>.", to)
    workers = "Trials at a time. Default: as many as devices, or half the CPUs."
    flags.DEFINE_integer("workers", None, workers, 1, None, to)
    flags.DEFINE_list("devices", [], "GPUs to spread the trials over, like 0,1,2,3.", to)
    threads = "CPU threads of a trial. Default: an even share of the CPUs."
    flags.DEFINE_integer("threads", None, threads, 1, None, to)
    flags.DEFINE_string("only", "", "Run only trials whose name has this in it.", to)
    flags.DEFINE_bool("together", False, "Train all trials in one process, at once.", to)
    flags.DEFINE_bool("dry_run", False, "Print the commands and run nothing.", to)
    flags.DEFINE_bool("help", False, "Show this.", to)
    return to


def _places(
    devices: Sequence[str], workers: int | None, threads: int | None
) -> list[dict[str, str]]:
    """Returns what the environment of each worker adds: its device, its share of the CPUs."""
    cpus = os.cpu_count() or 1
    count = workers or len(devices) or max(1, cpus // 2)
    share = str(threads or max(1, cpus // count))
    # NPROC is what XLA goes by on CPUs; the others are for numpy.
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    places = [dict.fromkeys(names, share) for _ in range(count)]
    for index, place in enumerate(places if devices else []):
        place["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
    used = collections.Counter(place.get("CUDA_VISIBLE_DEVICES") for place in places)
    for place in places if devices else []:
        # JAX takes three quarters of a GPU for itself unless told otherwise.
        if (sharing := used[place["CUDA_VISIBLE_DEVICES"]]) > 1:
            place["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.3f}"
    return places


@dataclasses.dataclass(frozen=True)
class _Work:
    """Trials that one command runs, and what its output is written to."""

    trials: list[trials_lib.Trial]
    argv: tuple[str, ...]
    log: pathlib.Path


def _together(
    todo: list[trials_lib.Trial],
    log: pathlib.Path,
    program: tuple[str, ...],
    together: tuple[str, ...],
) -> list[_Work]:
    """Returns the one command that runs all trials, or none if there is no trial."""
    flags_of = [shlex.join(trial.argv[len(program) :]) for trial in todo]
    argv = (*together, *(f"--trial={text}" for text in flags_of))
    return [_Work(todo, argv, log)] if todo else []


class _Log:
    """A log from the command that is about to write to it on."""

    def __init__(self, path: pathlib.Path, argv: Sequence[str]) -> None:
        """Notes the command."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = path.open("a+b")  # Can be read even if the folder is removed.
        self.file.write(f"{trials_lib.PROMPT}{shlex.join(argv)}\n".encode())
        self.file.flush()
        self._start = self.file.tell()

    def lines(self) -> list[str]:
        """Returns what the command has written, but for what is long ago."""
        self.file.seek(max(self._start, self.file.seek(0, os.SEEK_END) - 65536))
        lines = re.split(r"[\r\n]+", self.file.read().decode(errors="replace"))
        return [line.strip() for line in lines if line.strip()]


@dataclasses.dataclass
class _Job:
    """Work under way."""

    work: _Work
    place: dict[str, str]
    process: subprocess.Popen[bytes]
    log: _Log
    own: list[_Log]  # Of each trial.
    started: float


class _Pool:
    """Runs trials, as many at a time as there are places, and stops them when told to."""

    def __init__(self, places: list[dict[str, str]], screen: "_Screen"):
        self.failed = 0
        self.signals: list[int] = []
        self._free = places
        self._screen = screen
        self._running: list[_Job] = []

    def run(self, todo: Sequence[_Work]) -> None:
        """Runs all trials, or up to the first signal; then the running ones are told to save."""
        waiting = collections.deque(todo)
        with self._catching():
            try:
                while (waiting or self._running) and not self.signals:
                    while waiting and self._free and not self.signals:
                        self._start(waiting.popleft())
                    self._collect()
                    time.sleep(_POLL)
            finally:
                self._stop()

    def _start(self, work: _Work) -> None:
        """Starts work; if that is not possible, counts its trials as failed."""
        with contextlib.ExitStack() as files:
            try:
                own = [_Log(trial.workdir / "log.txt", trial.argv) for trial in work.trials]
                alone = work.log == work.trials[0].workdir / "log.txt"
                log = own[0] if alone else _Log(work.log, work.argv)
                for each in {*own, log}:
                    files.enter_context(each.file)
                process = subprocess.Popen(
                    work.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log.file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | self._free[-1] | {"PYTHONUNBUFFERED": "1"},
                    start_new_session=True,  # Else Ctrl-C reaches it twice.
                )
            except OSError as e:
                self.failed += len(work.trials)
                for trial in work.trials:
                    self._screen.ended(trial, f"failed: {e} (log: {work.log})")
                return
            files.pop_all()  # The logs stay open as long as the work is under way.
        self._running.append(_Job(work, self._free.pop(), process, log, own, time.monotonic()))
        self._show()

    def _collect(self) -> None:
        """Takes note of the work that has ended."""
        for job in [job for job in self._running if job.process.poll() is not None]:
            self._running.remove(job)
            self._free.append(job.place)
            for trial, own in zip(job.work.trials, job.own, strict=True):
                self._ended(job, trial, own)
            for log in {*job.own, job.log}:
                log.file.close()
            self._show()

    def _ended(self, job: _Job, trial: trials_lib.Trial, own: _Log) -> None:
        """Says how a trial ended whose process has."""
        if trials_lib.finished(trial):
            self._screen.ended(trial, f"done in {_duration(job.started)}")
        elif self.signals:
            self._screen.ended(trial, "stopped", count=False)
        else:
            self.failed += 1
            path = trial.workdir / "log.txt"
            self._screen.ended(trial, f"failed: {_reason(job, own)} (log: {path})")

    def _show(self) -> None:
        self._screen.live([trial.name for job in self._running for trial in job.work.trials])

    def _stop(self) -> None:
        """Ends what still runs: first asks, then, after the grace or a second signal, kills."""
        for job in self._running:
            job.process.terminate()
        asked = len(self.signals)
        most = max((len(job.work.trials) for job in self._running), default=1)
        deadline = time.monotonic() + _GRACE * most
        if self._running:
            self._screen.say("stopping: the running trials save their state first")
        while self._running and time.monotonic() < deadline and len(self.signals) <= asked:
            self._collect()
            time.sleep(_POLL)
        for job in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()
        self._collect()

    @contextlib.contextmanager
    def _catching(self) -> Iterator[None]:
        """Notes signals instead of dying of them."""
        caught = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        # Under nohup SIGHUP is ignored, and stays so.
        before = {s: signal.getsignal(s) for s in caught if signal.getsignal(s) != signal.SIG_IGN}
        for number in before:
            signal.signal(number, lambda number, _: self.signals.append(number))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Screen:
    """Shows how far the trials are; on a terminal the last line says what runs now."""

    def __init__(self, total: int, done: int):
        self._total = total
        self._done = done
        self._terminal = sys.stdout.isatty()
        if done:
            self.say(f"{done} of {total} trials are finished already")

    def ended(self, trial: trials_lib.Trial, how: str, count: bool = True) -> None:
        """Says how a trial ended."""
        self._done += count
        self.say(f"[{self._done}/{self._total}] {trial.name} {how}")

    def live(self, names: Sequence[str]) -> None:
        """Says what runs now, in a line that the next one replaces."""
        if self._terminal and names:
            line = f"[{self._done}/{self._total}] {len(names)} running: {'  '.join(names)}"
            self._print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        self._print(f"\r\x1b[K{line}\n" if self._terminal else f"{line}\n")

    def _print(self, content: str) -> None:
        # A reader that has gone must not cost the trials their orderly end.
        with contextlib.suppress(OSError):
            print(content, end="", flush=True)


def _reason(job: _Job, own: _Log) -> str:
    """Returns the line of the logs that says best why a trial failed."""
    status = job.process.returncode
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status == 0:
        return "ended with status 0 but left no DONE"
    named = [line for line in own.lines() if line.startswith("error: ")]
    lines = job.log.lines()
    named = named or [line for line in lines if line.startswith("error: ")]
    last = (named or lines or [f"ended with status {status}"])[-1]
    return last.removeprefix("error: ")


def _duration(started: float) -> str:
    """Returns how long ago that was, in words."""
    seconds = time.monotonic() - started
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
