"""What a measurement leaves behind: one JSON file, with which `benchmarks.check` compares later."""

from collections.abc import Mapping
import dataclasses
import datetime
import json
from pathlib import Path
import sys
from typing import Any

from absl import flags

from benchmarks import timing
from sae_jax import errors, files

OUT = flags.DEFINE_string("out", None, "Where a record of the measurement is written, a .json.")

# Where things lie on one machine is no part of a measurement.
_PLACES = ("--out", "--peers")


@dataclasses.dataclass(frozen=True)
class Record:
    """One run of one script.

    Attributes:
      script: "benchmarks.<name>".
      arguments: of its command line, but for places of this machine.
      date: of the run, as 2026-11-22.
      machine: in words.
      device: "cpu", or the kind of the accelerator.
      versions: of packages.
      ratios: what is to be kept, by name; higher is better, and units cancel.
      numbers: all else that was measured, by name.
    """

    script: str
    arguments: list[str]
    date: str
    machine: str
    device: str
    versions: dict[str, str]
    ratios: dict[str, float]
    numbers: dict[str, Any]


def make(
    script: str,
    ratios: Mapping[str, float],
    numbers: Mapping[str, Any],
    versions: Mapping[str, str],
    device: str = "cpu",
) -> Record:
    """Returns the record of a run that has just ended."""
    return Record(
        script=script,
        arguments=[word for word in sys.argv[1:] if word.partition("=")[0] not in _PLACES],
        date=datetime.date.today().isoformat(),
        machine=timing.machine(),
        device=device,
        versions=dict(versions),
        ratios={name: float(f"{value:.4g}") for name, value in ratios.items()},
        numbers=dict(numbers),
    )


def save(record: Record) -> None:
    """Writes a record where --out says, if it does."""
    if OUT.value:
        write(Path(OUT.value), record)


def write(path: Path, record: Record) -> None:
    """Writes a record, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(dataclasses.asdict(record), indent=1) + "\n")


def read(path: Path) -> Record:
    """Returns the record in a file.

    Raises:
      UserError: it holds none.
    """
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise errors.UserError(f"{path} holds no record of a measurement ({error})") from error
