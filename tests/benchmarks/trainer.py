"""A process that speaks the protocol and trains nothing."""

import sys
import time

from benchmarks import protocol

job, rounds = protocol.job(), protocol.Rounds()
print("what packages print is no answer")
if job.variant == "broken":
    sys.exit("no such variant")
rounds.ready(versions={"none": "1"}, cores=protocol.cores())
if job.variant == "loop":
    for number in rounds.batches(iter(range(100)).__next__):
        assert number < 100


def _fill(steps: int) -> None:
    """Takes a MB a step, and then some time."""
    kept = bytearray(b"x" * (steps * 2**20))
    time.sleep(0.2)
    del kept


rounds.steps(_fill)
