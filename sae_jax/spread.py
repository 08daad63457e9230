"""What a number is over runs that differ in their seed; imports no jax."""

from collections.abc import Sequence
import math
import statistics
from typing import NamedTuple


class Stat(NamedTuple):
    """The mean over n runs, and their sample standard deviation (None where there is none)."""

    mean: float
    sd: float | None
    n: int


def of(values: Sequence[float]) -> Stat:
    """Returns mean and sample standard deviation of numbers, one for each run, one at least.

    Of one number there is no deviation, nor where one is not finite: the mean is then nan or an
    infinity too.
    """
    if not all(map(math.isfinite, values)):
        return Stat(sum(values) / len(values), None, len(values))
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Stat(statistics.fmean(values), sd, len(values))
