"""What all measurements share: rounds in turn, medians, ratios, slopes, and words for a machine."""

from collections.abc import Callable, Mapping, Sequence
import math
import os
from pathlib import Path
import platform
import statistics
import time
from typing import Any


def interleaved(work: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Returns what each of `work` says it took, round by round.

    All have their turn in every round, so that a machine that slows down does so for all. What the
    first round says is not kept: programs are compiled in it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            took = run()
            if turn:
                seconds[name].append(took)
    return seconds


def clocked(run: Callable[[], object]) -> Callable[[], float]:
    """Returns what calls `run` and returns the seconds that it took."""

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Returns median, least and largest of the quotients of two measurements, round by round."""
    found = sorted(a / b for a, b in zip(above, below, strict=True))
    return statistics.median(found), found[0], found[-1]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the exponent b of the power law `y = a x^b` that fits best, by least squares of logs.

    Raises:
      ValueError: there are no two different x.
    """
    return statistics.linear_regression(
        [math.log(value) for value in x], [math.log(value) for value in y]
    ).slope


def in_proportion(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Returns what the largest size would cost if cost grew as size does, by what it costs."""
    return seconds[0] * (sizes[-1] / sizes[0]) / seconds[-1]


def use_cores(count: int) -> None:
    """Lets this process and those that it starts run on `count` cores only; 0: on all."""
    free = sorted(os.sched_getaffinity(0))
    if count > len(free):
        raise ValueError(f"--threads={count}: there are {len(free)} cores")
    if count:
        os.sched_setaffinity(0, free[:count])


def machine() -> str:
    """Returns what the machine is, without its name: "2 cores of AMD EPYC, x86_64, 24 GB"."""
    found = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    model = found[0] if found else "an unknown processor"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} core{'s' * (cores > 1)} of {model}, {platform.machine()}, {memory / 1e9:.0f} GB"
    )


def device(found: Any) -> str:
    """Returns what a device of jax is: "cpu", or the kind of an accelerator."""
    return "cpu" if found.platform == "cpu" else found.device_kind
