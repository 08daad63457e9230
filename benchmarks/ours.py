"""Trains in a process of its own, as `benchmarks.protocol` says: `python -m benchmarks.ours JOB`.

What a round does is `job.what`: "step", the compiled loop of training; "memory", the same after a
tiny job, so that what packages and compiler keep is there before; "encoder", the product with the
encoder alone; "five", five such products. "estimate" does nothing in a round: it tells at once how
much memory `--dry_run` says the job needs.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import io
import re
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks import job as jobs, products, protocol, timing
from experiments import dry_run

_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def main() -> None:
    """Answers rounds until its input ends."""
    job = protocol.job()
    rounds = protocol.Rounds()
    if job.devices:
        jax.config.update("jax_num_cpu_devices", job.devices)
    device = jax.devices()[0]
    facts: dict[str, Any] = dict(
        device=timing.device(device),
        versions={"jax": jax.__version__, "optax": optax.__version__},
    )
    if job.what == "estimate":
        rounds.ready(**facts, estimated_bytes=_estimate(job))
        return
    if job.what == "memory":
        jobs.Training(dataclasses.replace(job, d_in=16, d_sae=64, k=4, batch=32)).run(1)
    memory = _DeviceMemory(device) if device.memory_stats() else _HostMemory()
    train = _work(job)
    rounds.ready(**facts)

    def run(steps: int) -> None:
        memory.begin()
        train(steps)

    rounds.steps(run, peak_bytes=memory.peak, training_bytes=memory.training)


class _DeviceMemory:
    """The memory of an accelerator: the host's does not count."""

    def __init__(self, device: jax.Device) -> None:
        self._device = device

    def begin(self) -> None:
        """Does nothing: the peak cannot be forgotten."""

    def peak(self) -> int:
        """Returns the largest memory until now."""
        return (self._device.memory_stats() or {})["peak_bytes_in_use"]

    training = peak


class _HostMemory:
    """The memory of this process."""

    def __init__(self) -> None:
        protocol.forget_peak()
        self._before = protocol.resident_bytes()
        self._peak = 0

    def begin(self) -> None:
        """Begins a round."""
        self._peak = self.peak()
        protocol.forget_peak()

    def peak(self) -> int:
        """Returns the largest memory until now, Python and all packages included."""
        return max(self._peak, protocol.peak_bytes())

    def training(self) -> int:
        """Returns the largest memory of the last round, less what was there before the job."""
        return protocol.peak_bytes() - self._before


def _work(job: protocol.Job) -> Callable[[int], object]:
    if job.what in ("step", "memory"):
        return jobs.Training(job).run
    product = {"encoder": products.encoder, "five": products.five}[job.what]
    return product(job.batch, job.d_in, job.d_sae, jnp.dtype(job.dtype))


def _estimate(job: protocol.Job) -> float:
    """Returns the bytes that `--dry_run` prints."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        jobs.write_examples(job, folder)
        dry_run.show(jobs.config(job, folder))
    found = re.search(r"^memory +(\S+) (\w+) on each device", said.getvalue(), re.MULTILINE)
    assert found is not None, said.getvalue()
    return float(found[1]) * _UNITS[found[2]]


if __name__ == "__main__":
    main()
