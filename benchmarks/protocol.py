"""How benchmarks talk to processes that train: a number of steps in, a line of JSON out.

Each trainer has a process of its own: its packages may not live beside ours, its memory can be
measured, and it keeps its state while others have their turn. This file is read by the interpreters
of peers too, so it imports nothing but what Python brings.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import ctypes
import dataclasses
import json
import os
from pathlib import Path
import select
import subprocess
import sys
import tempfile
import time
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # Processes share an accelerator.
    "WANDB_MODE": "disabled",
}
_LOOK = 0.02  # Seconds between two looks at the memory of a process.


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained.

    Attributes:
      variant: "topk", "batch_topk", "relu" or "jumprelu".
      d_in: width of an example.
      d_sae: latents.
      k: active ones, where a variant has such a number.
      batch: examples of a step.
      dtype: of products, "float32" or "bfloat16".
      dead: share of latents that are dead from the first step on, so that AuxK has work.
      active: of ours, how many latents biases leave active at first; 0: as many as there are then.
      what: of ours, "step" or another word of `benchmarks/ours.py`.
      devices: of ours, virtual ones of the CPU; 0: those that there are.
      settings: of ours, "key=value" of its config.
    """

    variant: str = "topk"
    d_in: int = 768
    d_sae: int = 12_288
    k: int = 32
    batch: int = 2048
    dtype: str = "float32"
    dead: float = 0.0
    active: int = 0
    what: str = "step"
    devices: int = 0
    settings: tuple[str, ...] = ()

    @property
    def dead_latents(self) -> int:
        """How many latents are dead."""
        return round(self.dead * self.d_sae)


class Rounds:
    """The side of the process that trains: rounds of steps, one for each line of its input."""

    def __init__(self) -> None:
        """Opens the way for answers, which is not the output: packages print there."""
        self._answers = os.fdopen(int(sys.argv[2]), "w")

    def ready(self, **facts: Any) -> None:
        """Says that training may begin; `facts` are versions and whatever else is to be told."""
        self._answer(facts)

    def steps(self, train: Callable[[int], None], **more: Callable[[], Any]) -> None:
        """Calls `train(steps)` for every round, until the input ends.

        `more` are called after each round for what else the answer shall hold.
        """
        while (count := self._asked()) is not None:
            start = time.perf_counter()
            train(count)
            seconds = time.perf_counter() - start
            self._answer(_done(seconds) | {name: of() for name, of in more.items()})

    def batches(self, take: Callable[[], Any]) -> Iterator[Any]:
        """Yields a batch for each step, for loops that are not ours; ends the program at the end.

        A round lasts from its first batch until the loop asks for the one after its last.
        """
        while (count := self._asked()) is not None:
            start = time.perf_counter()
            for _ in range(count):
                yield take()
            self._answer(_done(time.perf_counter() - start))
        raise SystemExit(0)  # Nothing of what loops do after their last step.

    def _asked(self) -> int | None:
        line = sys.stdin.readline()
        return int(line) if line else None

    def _answer(self, fields: Mapping[str, Any]) -> None:
        print(json.dumps(fields), file=self._answers, flush=True)


class Trainer:
    """The side of the benchmark: one process that trains.

    Attributes:
      name: under which its measurements are reported.
      facts: what it said of itself.
    """

    def __init__(self, name: str, module: str, job: Job, python: str = sys.executable) -> None:
        """Starts `python -m <module> <job> <descriptor for answers>`; returns at once."""
        self.name = name
        self.facts: dict[str, Any] = {}
        self._folder = tempfile.TemporaryDirectory()
        self._said = Path(self._folder.name) / "said"
        answers, descriptor = os.pipe()
        self._answers = os.fdopen(answers)
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [python, "-m", module, json.dumps(dataclasses.asdict(job)), str(descriptor)],
                cwd=_ROOT,
                env={**_ENVIRONMENT, **os.environ},
                pass_fds=(descriptor,),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                text=True,
            )
        os.close(descriptor)

    def ready(self, limit: float | None = None) -> "Trainer":
        """Waits until it can train, and returns itself; `limit` as in `run`."""
        self.facts = self._answer(limit)
        return self

    def run(self, steps: int, limit: float | None = None) -> dict[str, Any]:
        """Trains so many steps; returns "seconds" of all and "peak_bytes" until now.

        Args:
          steps: how many.
          limit: bytes of memory with which the process is ended.

        Raises:
          TooLarge: it needed more.
          RuntimeError: it ended by itself.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It ended: the missing answer says why.
            print(steps, file=self._process.stdin, flush=True)
        return self._answer(limit)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # What it was told last it did not read.
            self._process.__exit__(None, None, None)
        self._answers.close()
        self._folder.cleanup()

    def __enter__(self) -> "Trainer":
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the process."""
        self.close()

    def _answer(self, limit: float | None) -> dict[str, Any]:
        while limit is not None and not select.select([self._answers], [], [], _LOOK)[0]:
            if _memory("VmRSS", self._process.pid) > limit:
                raise TooLarge(self.name)
        line = self._answers.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        said = self._said.read_text(errors="replace").strip()
        raise RuntimeError(f"{self.name} ended with status {status}:\n{said[-2000:]}")


class TooLarge(Exception):
    """A process needed more memory than it was given."""


def job() -> Job:
    """Returns what the command line of a process that trains says."""
    fields = json.loads(sys.argv[1])
    return Job(**fields | {"settings": tuple(fields["settings"])})


def cores() -> int:
    """Returns on how many cores this process may run."""
    return len(os.sched_getaffinity(0))


def resident_bytes() -> int:
    """Returns the memory of this process."""
    return _memory("VmRSS", "self")


def peak_bytes() -> int:
    """Returns the largest memory that this process has had.

    Not `ru_maxrss`, which a child takes over from the process that started it.
    """
    return _memory("VmHWM", "self")


def forget_peak() -> None:
    """Lets `peak_bytes` count from now on, without memory that is free but was kept."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str, process: int | str) -> int:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0  # It has ended.
    lines = [line for line in text.splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def _done(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "peak_bytes": peak_bytes()}
