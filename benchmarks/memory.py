r"""How much memory a step needs, and how large a dictionary fits: `python -m benchmarks.memory`.

python -m benchmarks.memory --against=sae_lens,dictionary_learning,sparsify \
    --peers=/path/to/env/bin/python

For ours and for each peer: the largest d_sae, to an eighth, that two steps of training can be done
with under a limit. Peaks are those of a whole process, packages, start and compiler included; on an
accelerator they are the device's own, of ours alone. A process over the limit is ended.

And what `--dry_run` says that a job needs, beside what its training took: the peak of a round of
steps, less what the process had before the job, after a tiny one. A tenth of the latents are dead
there: memory for AuxK is planned for, but taken when there is work for it.
"""

from typing import Any

from absl import flags

from benchmarks import against, protocol, records, timing
from experiments import cli

_VARIANT = flags.DEFINE_string("variant", "topk", "What is trained.")
_D_IN = flags.DEFINE_integer("d_in", 768, "Width of an example.", 1)
_BATCH = flags.DEFINE_integer("batch", 4096, "Examples of a step.", 1)
_K = flags.DEFINE_integer("k", 32, "Active latents.", 1)
_LIMIT = flags.DEFINE_float("limit", 8.0, "GB that training may take.", 0.0)
_ESTIMATES = flags.DEFINE_list("estimates", ["12288", "32768"], "d_sae at which --dry_run is held.")
_LARGEST = flags.DEFINE_bool("largest", True, "Look for the largest dictionary.")
_SET = flags.DEFINE_multi_string("set", [], "Of our config, --set=optim.clip_norm=0.0")
_DEBUG = flags.DEFINE_bool("debug", False, "Tiny sizes, a limit that few of them reach.")

_DEAD = 0.1  # Of latents where --dry_run is held: memory for AuxK is taken when one is dead.
_UNIT = 1024  # d_sae is a multiple of it.
_LEAST = 4 * _UNIT


def main() -> None:
    """Measures ours and peers, and prints what fits."""
    python = against.interpreters()
    ratios: dict[str, float] = {}
    numbers: dict[str, Any] = {}
    print(f"{timing.machine()}\n{_VARIANT.value}: d_in {_d_in()}, batch {_batch():,}, k {_K.value}")
    facts: dict[str, Any] = {}
    for d_sae in ["8192"] if _DEBUG.value else _ESTIMATES.value:
        said, took, facts = _estimate(int(d_sae))
        print(
            f"d_sae {int(d_sae):,}: --dry_run says {said / 1e9:.3f} GB, training took "
            f"{took / 1e9:.3f} GB, {said / took - 1:+.0%}",
            flush=True,
        )
        ratios[f"d_sae {d_sae}: nearness of --dry_run"] = min(said / took, took / said)
        numbers[f"d_sae {d_sae}"] = {"estimated_bytes": said, "training_bytes": took}
    versions = dict(facts["versions"])
    largest = {}
    if _LARGEST.value:
        peers = [name for name in python if _VARIANT.value in against.PEERS[name]]
        for name in ("ours", *peers):
            largest[name] = _largest(name, python, versions)
            print(f"{name}: d_sae {largest[name]:,} fits in {_limit() / 1e9:g} GB", flush=True)
            numbers[f"{name}, largest d_sae"] = largest[name]
        ratios |= {f"ours / {peer}": largest["ours"] / max(1, largest[peer]) for peer in peers}
    records.save(records.make("benchmarks.memory", ratios, numbers, versions, facts["device"]))


def _estimate(d_sae: int) -> tuple[float, float, dict[str, Any]]:
    """Returns the bytes that are said and those that were measured, and facts of the process."""
    with protocol.Trainer("ours", "benchmarks.ours", _job(d_sae, what="estimate")) as dry:
        said = dry.ready().facts["estimated_bytes"]
    with protocol.Trainer("ours", "benchmarks.ours", _job(d_sae, "memory", _DEAD)) as trainer:
        facts = trainer.ready().facts
        trainer.run(1)  # Compiles.
        return said, trainer.run(2)["training_bytes"], facts


def _largest(name: str, python: dict[str, str], versions: dict[str, str]) -> int:
    """Returns the largest d_sae that fits, to an eighth; 0 if not even the least does."""
    fits, fails = 0, _LEAST
    while _fits(name, python, fails, versions):
        fits, fails = fails, 2 * fails
    while fails - fits > max(_UNIT, fits // 8) and fits:
        middle = (fits + fails) // 2 // _UNIT * _UNIT
        if _fits(name, python, middle, versions):
            fits = middle
        else:
            fails = middle
    return fits


def _fits(name: str, python: dict[str, str], d_sae: int, versions: dict[str, str]) -> bool:
    """Returns whether two steps can be done under the limit."""
    module = "benchmarks.ours" if name == "ours" else f"benchmarks.peers.{name}"
    interpreter = dict(python=python[name]) if name in python else {}
    try:
        with protocol.Trainer(name, module, _job(d_sae), **interpreter) as trainer:
            versions |= trainer.ready(_limit()).facts["versions"]
            peak = trainer.run(2, _limit())["peak_bytes"]
    except protocol.TooLarge:
        print(f"  {name}, d_sae {d_sae:,}: more than {_limit() / 1e9:g} GB", flush=True)
        return False
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):  # As an accelerator says it.
            raise
        print(f"  {name}, d_sae {d_sae:,}: more than the device has", flush=True)
        return False
    print(f"  {name}, d_sae {d_sae:,}: {peak / 1e9:.2f} GB", flush=True)
    return peak <= _limit()


def _job(d_sae: int, what: str = "step", dead: float = 0.0) -> protocol.Job:
    sizes: dict[str, Any] = dict(d_in=_d_in(), d_sae=d_sae, k=_K.value, batch=_batch())
    more: dict[str, Any] = dict(what=what, dead=dead, settings=tuple(_SET.value))
    return protocol.Job(variant=_VARIANT.value, **sizes, **more)


def _d_in() -> int:
    return 128 if _DEBUG.value else _D_IN.value


def _batch() -> int:
    return 1024 if _DEBUG.value else _BATCH.value


def _limit() -> float:
    return 1.0e9 if _DEBUG.value else _LIMIT.value * 1e9


if __name__ == "__main__":
    cli.run(main)
