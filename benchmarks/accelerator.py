r"""All measurements of one accelerator: `python -m benchmarks.accelerator`.

Steps of many sizes in bfloat16: examples a second, peak memory of the device, and the share of the
step that the product of a batch with the encoder takes alone, measured beside it, which is what the
step cannot be faster than; and the same step by the kernels of `sae_jax/ops/kernels.py`. Each size
has a process of its own.

Results are written after each size, to benchmarks/results/accelerator-<device>.json or --record.
Run again, the command goes on with sizes that are not there yet; --budget ends it in time.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
import os
from pathlib import Path
import statistics
import time
from typing import Any

from absl import flags
import jax

from benchmarks import protocol, records, timing
from experiments import cli

_D_IN = flags.DEFINE_list("d_in", ["768", "2304", "4096"], "Widths of an example.")
_D_SAE = flags.DEFINE_list("d_sae", ["16384", "65536", "131072"], "Latents.")
_K = flags.DEFINE_list("k", ["32", "64"], "Active latents.")
_BATCH = flags.DEFINE_list("batch", ["4096", "16384"], "Examples of a step.")
_VARIANT = flags.DEFINE_string("variant", "topk", "What is trained.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "Of products.")
_SET = flags.DEFINE_multi_string("set", [], "Of our config, --set=optim.clip_norm=0.0")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which medians are kept.", 1)
_BUDGET = flags.DEFINE_float("budget", 0.0, "Seconds after which no size is begun; 0: no end.")
_DEBUG = flags.DEFINE_bool("debug", False, "Two tiny sizes.")

_KERNELS = "SAE_JAX_KERNELS"
_ROUND = 0.5  # Seconds that a round takes about.
_MOST = 100  # Steps of a round.


def main() -> int:
    """Measures what is not in the results yet; returns 1 if the budget ended before that."""
    with _without_kernels():
        return _measure_all()


def _measure_all() -> int:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # The memory is for the processes.
    start = time.monotonic()
    device = timing.device(jax.devices()[0])
    path = Path(records.RECORD.value or f"benchmarks/results/accelerator-{_slug(device)}.json")
    numbers: dict[str, Any] = records.read(path).numbers if path.exists() else {}
    print(f"{device}, {timing.machine()}, {_VARIANT.value}, {_DTYPE.value}, to {path}")
    for job in jobs():
        name = f"d_in {job.d_in}, d_sae {job.d_sae}, k {job.k}, batch {job.batch}"
        if name in numbers:
            continue
        if _BUDGET.value and time.monotonic() - start > _BUDGET.value:
            print("the budget is spent: run the same command again")
            return 1
        numbers[name] = _measured(job)
        print(f"{name}: {_words(numbers[name])}", flush=True)
        ratios = {
            f"{size}: encoder / ours": found["encoder_share"]
            for size, found in numbers.items()
            if "encoder_share" in found
        }
        versions = {"jax": jax.__version__}
        records.write(
            path, records.make("benchmarks.accelerator", ratios, numbers, versions, device)
        )
    return 0


def jobs() -> list[protocol.Job]:
    """Returns what is measured, small before large."""
    lists = [(16,), (64, 128), (4,), (32,)]
    if not _DEBUG.value:
        given = (_D_IN.value, _D_SAE.value, _K.value, _BATCH.value)
        lists = [tuple(map(int, words)) for words in given]
    more: dict[str, Any] = dict(dtype=_DTYPE.value, settings=tuple(_SET.value))
    return [
        protocol.Job(_VARIANT.value, d_in, d_sae, k, batch, **more)
        for d_in, d_sae, k, batch in itertools.product(*lists)
    ]


def _measured(job: protocol.Job) -> dict[str, Any]:
    """Returns what is kept of one size, or why there is nothing."""
    try:
        seconds, peak = _step(job)
        encoder, _ = _step(dataclasses.replace(job, what="encoder"))
    except RuntimeError as error:
        return {"failed": _last_line(error)}
    flop = 2.0 * job.batch * job.d_in * job.d_sae
    found = {
        "seconds": seconds,
        "examples_per_second": job.batch / seconds,
        "peak_bytes": peak,
        "encoder_seconds": encoder,
        "encoder_share": encoder / seconds,
        "encoder_tflops": flop / encoder / 1e12,
    }
    short = {name: float(f"{value:.4g}") for name, value in found.items()}
    return short | _by_kernels(job, seconds)


@contextlib.contextmanager
def _without_kernels() -> Iterator[None]:
    """Takes what a user exported out of the environment, as the processes inherit it."""
    before = os.environ.pop(_KERNELS, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_KERNELS] = before


def _by_kernels(job: protocol.Job, seconds: float) -> dict[str, Any]:
    """Returns how many times as long a step takes without the kernels, or why that is not known."""
    os.environ[_KERNELS] = "pallas"
    try:
        return {"times_with_kernels": float(f"{seconds / _step(job)[0]:.4g}")}
    except RuntimeError as error:
        return {"kernels_failed": _last_line(error)}
    finally:
        del os.environ[_KERNELS]


def _last_line(error: RuntimeError) -> str:
    return str(error).splitlines()[-1][:200]


def _step(job: protocol.Job) -> tuple[float, int]:
    """Returns the seconds of a step, a median over rounds, and the peak of memory."""
    with protocol.Trainer(job.what, "benchmarks.ours", job) as trainer:
        trainer.ready().run(1)  # Compiles.
        steps = max(1, min(_MOST, round(_ROUND / trainer.run(1)["seconds"])))
        answers = [trainer.run(steps) for _ in range(_ROUNDS.value)]
    seconds = statistics.median(answer["seconds"] / steps for answer in answers)
    return seconds, answers[-1]["peak_bytes"]


def _words(found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"failed: {found['failed']}"
    kernels = (
        f"kernels failed: {found['kernels_failed']}"
        if "kernels_failed" in found
        else f"with kernels {found['times_with_kernels']} times as fast"
    )
    return (
        f"{found['seconds'] * 1e3:,.2f} ms, {found['examples_per_second']:,.0f} examples/s, "
        f"{found['peak_bytes'] / 1e9:.2f} GB, the encoder's product takes "
        f"{found['encoder_share']:.0%} of it, at {found['encoder_tflops']:.3g} TFLOP/s; " + kernels
    )


def _slug(device: str) -> str:
    return "-".join(device.lower().split())


if __name__ == "__main__":
    cli.run(main)
