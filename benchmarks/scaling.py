"""How the cost of a step grows with sizes: `python -m benchmarks.scaling`.

One line for d_sae, batch, k, and the number of virtual devices of the CPU: seconds of a step at
each size, in one run and in turn, and the slope of log seconds over log size: 1 is in proportion, 0
is for nothing.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import statistics
from typing import Any

from absl import flags

from benchmarks import protocol, records, timing
from experiments import cli

_SIZES = {
    "d_sae": (4096, 8192, 16_384, 32_768, 65_536),
    "batch": (512, 1024, 2048, 4096),
    "k": (8, 16, 32, 64, 128),
    "devices": (1, 2, 4),
}
_DEBUG_SIZES = {"d_sae": (64, 128), "batch": (16, 32), "k": (2, 4), "devices": (1, 2)}

_OF = flags.DEFINE_list("of", list(_SIZES), "What grows.")
_VARIANT = flags.DEFINE_string("variant", "topk", "What is trained.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which medians are printed.", 1)
_STEPS = flags.DEFINE_integer("steps", 2, "Steps of a round.", 1)
_THREADS = flags.DEFINE_integer("threads", 0, "Cores that may be used; 0: those there are.", 0)
_SET = flags.DEFINE_multi_string("set", [], "Of our config, --set=optim.clip_norm=0.0")
_DEBUG = flags.DEFINE_bool("debug", False, "Tiny sizes.")


def main() -> None:
    """Measures one line after the other, and prints them."""
    timing.use_cores(_THREADS.value)
    sizes = _DEBUG_SIZES if _DEBUG.value else _SIZES
    small: dict[str, Any] = dict(d_in=16, d_sae=64, k=4, batch=32) if _DEBUG.value else {}
    job = protocol.Job(variant=_VARIANT.value, settings=tuple(_SET.value), **small)
    print(f"{timing.machine()}\n{job.variant}: d_in {job.d_in}, and where it does not grow:")
    print(f"d_sae {job.d_sae:,}, batch {job.batch:,}, k {job.k}, the devices that there are")
    ratios: dict[str, float] = {}
    numbers: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for name in _OF.value:
        with contextlib.ExitStack() as processes:
            started = [processes.enter_context(_started(job, name, size)) for size in sizes[name]]
            facts = [trainer.ready().facts for trainer in started][0]
            work = {trainer.name: functools.partial(_seconds, trainer) for trainer in started}
            found = timing.interleaved(work, _ROUNDS.value)
        seconds = [statistics.median(took) for took in found.values()]
        growth = timing.slope(sizes[name], seconds)
        ratios[f"{name}: in proportion / measured"] = timing.in_proportion(sizes[name], seconds)
        numbers[name] = dict(zip(map(str, sizes[name]), seconds, strict=True), slope=growth)
        print(f"{name:<8}{_points(sizes[name], seconds)}   slope {growth:.2f}", flush=True)
    made = records.make("benchmarks.scaling", ratios, numbers, facts["versions"], facts["device"])
    records.save(made)


def _started(job: protocol.Job, name: str, size: int) -> protocol.Trainer:
    fields: dict[str, Any] = {name: size}
    return protocol.Trainer(f"{name} {size}", "benchmarks.ours", dataclasses.replace(job, **fields))


def _seconds(trainer: protocol.Trainer) -> float:
    return trainer.run(_STEPS.value)["seconds"] / _STEPS.value


def _points(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    return "  ".join(f"{a:,}: {b:.3g} s" for a, b in zip(sizes, seconds, strict=True))


if __name__ == "__main__":
    cli.run(main)
