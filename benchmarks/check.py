r"""Fails when a ratio has fallen by more than a quarter from its record: for use before a release.

python -m benchmarks.check --peers=/path/to/env/bin/python
python -m benchmarks.check --records=benchmarks/results/sae_step-cpu.json --fresh=new.json

Every record in benchmarks/results that was made on such a device as there is here is measured again
with the arguments that it was made with; or --fresh names records that have just been made. Prints
a line for each ratio that fell, and ends with 1 if there is one.
"""

from collections.abc import Iterable
import os
from pathlib import Path
import subprocess
import sys
import tempfile

from absl import flags

from benchmarks import against, records, timing
from experiments import cli
from sae_jax import errors

_RECORDS = flags.DEFINE_list("records", [], "Records. Default: those of benchmarks/results.")
_FRESH = flags.DEFINE_list("fresh", [], "What to compare with them. Default: measured now.")

_FOLDER = Path("benchmarks/results")
_LEAST = 0.75  # Of what is recorded.


def main() -> int:
    """Compares, and returns how it went."""
    paths = [Path(path) for path in _RECORDS.value] or sorted(_FOLDER.glob("*.json"))
    if not paths:
        raise errors.UserError(f"there is no record in {_FOLDER}: make one with --out")
    recorded = [records.read(path) for path in paths]
    fresh = [records.read(Path(path)) for path in _FRESH.value]
    device = "" if fresh else _device()
    fallen = []
    for path, record in zip(paths, recorded, strict=True):
        if not fresh and record.device != device:
            print(f"{path}: of {record.device}, not measured on {device}")
            continue
        found = same(record, fresh) if fresh else _again(record)
        if found.machine != record.machine:
            print(f"{path}: recorded on {record.machine}; this is {found.machine}")
        lines = verdicts(record, found)
        fallen += lines
        print(f"{path}: {len(record.ratios)} ratios, {len(lines)} fell", flush=True)
    for line in fallen:
        print(line)
    return int(bool(fallen))


def verdicts(record: records.Record, fresh: records.Record) -> list[str]:
    """Returns a line for each ratio of a record that has fallen, or is not measured any more."""
    lines = []
    for name, was in record.ratios.items():
        now = fresh.ratios.get(name)
        if now is None:
            lines.append(f"{record.script}: {name} was {was:.3g} and is not measured any more")
        elif not now >= _LEAST * was:  # So that NaN has fallen.
            lines.append(f"{record.script}: {name} fell from {was:.3g} to {now:.3g}")
    return lines


def same(record: records.Record, fresh: Iterable[records.Record]) -> records.Record:
    """Returns the one of `fresh` that was made as `record` was.

    Raises:
      UserError: there is none.
    """
    for found in fresh:
        if (found.script, found.arguments) == (record.script, record.arguments):
            return found
    words = " ".join([record.script, *record.arguments])
    raise errors.UserError(f"no file of --fresh is of python -m {words}")


def _again(record: records.Record) -> records.Record:
    """Measures what a record says, now."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "record.json"
        command = [sys.executable, "-m", record.script, *record.arguments, f"--out={out}"]
        if any(word.startswith("--against") for word in record.arguments):
            command.append(f"--peers={','.join(against.PYTHON.value)}")
        print(f"python -m {' '.join(command[2:-1])}", flush=True)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if not out.exists():  # The measurement may have failed a bar of its own.
            raise errors.UserError(f"{record.script} failed: {result.stderr.strip()[-500:]}")
        return records.read(out)


def _device() -> str:
    """Returns what there is here, and leaves its memory to the measurements."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    return timing.device(jax.devices()[0])


if __name__ == "__main__":
    cli.run(main)
