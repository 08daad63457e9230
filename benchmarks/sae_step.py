r"""Time of a training step, ours and that of other packages, in the same run.

python -m benchmarks.sae_step
python -m benchmarks.sae_step --against=sae_lens,dictionary_learning,sparsify \
    --peers=/path/to/env/bin/python

All that training does is included: AuxK, the clip of the gradient, unit norms, Adam. Ours is the
method of `configs/llm_topk.py` in the compiled loop that trains; a peer is trained by its own loop
with its own defaults, but for sizes: see `benchmarks/peers`. Examples are normal numbers for all.
Each has a process of its own on the same cores, and rounds go in turn.

The floor is the product of a batch with the encoder, alone, and five of its size: what a step
without sparsity multiplies, two forward and three for the gradient.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import statistics
from typing import Any

from absl import flags

from benchmarks import against, protocol, records, timing
from experiments import cli

_VARIANTS = flags.DEFINE_list("variants", list(against.VARIANTS), "What is trained.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of which medians are printed.", 1)
_STEPS = flags.DEFINE_integer("steps", 2, "Steps of a round.", 1)
_D_IN = flags.DEFINE_integer("d_in", 768, "Width of an example.", 1)
_D_SAE = flags.DEFINE_integer("d_sae", 12_288, "Latents.", 1)
_K = flags.DEFINE_integer("k", 32, "Active latents.", 1)
_BATCH = flags.DEFINE_integer("batch", 2048, "Examples of a step.", 1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of peers and floors.")
_THREADS = flags.DEFINE_integer("threads", 2, "Cores that all may use; 0: those there are.", 0)
_DEAD = flags.DEFINE_float("dead", 0.0, "Share of latents that are dead, for AuxK.", 0.0, 1.0)
_ACTIVE = flags.DEFINE_integer(
    "active", 0, "Latents that biases leave active in ours; 0: no biases.", 0
)
_SET = flags.DEFINE_multi_string("set", [], "Of our config, --set=optim.clip_norm=0.0")
_DEBUG = flags.DEFINE_bool("debug", False, "Tiny sizes.")

_FLOORS = ("encoder", "five")  # Products.


def main() -> None:
    """Measures one variant after the other, and prints medians and ratios."""
    python = against.interpreters()
    timing.use_cores(_THREADS.value)
    ratios: dict[str, float] = {}
    numbers: dict[str, Any] = {}
    facts: dict[str, dict[str, Any]] = {}
    for variant in _VARIANTS.value:
        job = _job(variant)
        with contextlib.ExitStack() as processes:
            started = [processes.enter_context(it) for it in [*_ours(job), *_theirs(job, python)]]
            facts |= {trainer.name: trainer.ready().facts for trainer in started}
            seconds = measure(started)
        print(_sizes(job), flush=True)
        ratios |= {f"{variant}/{name}": of[0] for name, of in compared(seconds).items()}
        for name, took in seconds.items():
            numbers[f"{variant}/{name}, seconds a step"] = round(statistics.median(took), 6)
            print(_line(name, seconds, job.batch), flush=True)
    versions = {name: version for of in facts.values() for name, version in of["versions"].items()}
    device = facts["ours"]["device"]
    records.save(records.make("benchmarks.sae_step", ratios, numbers, versions, device))


def measure(trainers: Sequence[protocol.Trainer]) -> dict[str, list[float]]:
    """Returns the seconds of a step of each, the mean of a round's steps, round by round."""

    def seconds(trainer: protocol.Trainer) -> float:
        return trainer.run(_STEPS.value)["seconds"] / _STEPS.value

    work = {trainer.name: functools.partial(seconds, trainer) for trainer in trainers}
    return timing.interleaved(work, _ROUNDS.value)


def compared(seconds: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float, float]]:
    """Returns ratios, higher is better for us: median, least and largest over rounds.

    "it / ours" is the time of a peer's step by that of ours, "floor / ours" that of products alone.
    """
    return {
        f"{name} / ours": timing.ratios(took, seconds["ours"])
        for name, took in seconds.items()
        if name != "ours"
    }


def _job(variant: str) -> protocol.Job:
    sizes: dict[str, Any] = dict(
        d_in=_D_IN.value, d_sae=_D_SAE.value, k=_K.value, batch=_BATCH.value
    )
    if _DEBUG.value:
        sizes = dict(d_in=16, d_sae=64, k=4, batch=32)
    more: dict[str, Any] = dict(dtype=_DTYPE.value, dead=_DEAD.value, settings=tuple(_SET.value))
    return protocol.Job(variant=variant, active=_ACTIVE.value, **sizes, **more)


def _ours(job: protocol.Job) -> list[protocol.Trainer]:
    return [protocol.Trainer("ours", "benchmarks.ours", job)] + [
        protocol.Trainer(floor, "benchmarks.ours", dataclasses.replace(job, what=floor))
        for floor in _FLOORS
    ]


def _theirs(job: protocol.Job, python: dict[str, str]) -> list[protocol.Trainer]:
    return [
        protocol.Trainer(name, f"benchmarks.peers.{name}", job, path)
        for name, path in python.items()
        if job.variant in against.PEERS[name]
    ]


def _sizes(job: protocol.Job) -> str:
    return (
        f"\n{job.variant}: d_in {job.d_in:,}, d_sae {job.d_sae:,}, k {job.k}, batch {job.batch:,}, "
        f"{job.dtype}, {protocol.cores()} cores, {job.dead:.0%} of latents dead, median of "
        f"{_ROUNDS.value} rounds of {_STEPS.value} steps"
    )


def _line(name: str, seconds: Mapping[str, Sequence[float]], batch: int) -> str:
    """Returns what is printed of one of those that were measured."""
    median = statistics.median(seconds[name])
    line = f"{name:<20}{median:10.4g} s {batch / median:>10,.0f} examples/s"
    if name == "ours":
        return line
    of, least, most = compared(seconds)[f"{name} / ours"]
    line += f"   it / ours = {of:.2f}  ({least:.2f} to {most:.2f})"
    return line + f"   ours / it = {1 / of:.2f}" * (name in _FLOORS)


if __name__ == "__main__":
    cli.run(main)
