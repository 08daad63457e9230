"""Writes what a run reports: `metrics.jsonl`, one row a step, and TensorBoard events beside it.

A row holds nothing that depends on when or how often the run was interrupted, so a resumed run
leaves the same file as an undisturbed one.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from sae_jax import errors

Row = dict[str, Any]


class Writer:
    """Appends rows for one run."""

    def __init__(self, workdir: Path, step: int = 0) -> None:
        """Opens the files; rows after `step`, which a run that was killed left, are taken out."""
        import tensorboardX  # Here, because it imports torch where there is one: seconds.

        self._path = workdir / "metrics.jsonl"
        try:
            _keep_until(self._path, step)
            self._file = self._path.open("a")
            self._events = tensorboardX.SummaryWriter(
                str(workdir / "tensorboard"), purge_step=step + 1 if step else None
            )
        except OSError as error:
            raise errors.UserError(_cannot_write(self._path, error)) from error

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Adds one row."""
        try:
            self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            self._file.flush()
            for name, number in numbers.items():
                self._events.add_scalar(name, number, step)
        except OSError as error:
            raise errors.UserError(_cannot_write(self._path, error)) from error

    def flush(self) -> None:
        """Returns when all rows are on disk: call it before a checkpoint is saved."""
        try:
            os.fsync(self._file.fileno())
            self._events.flush()
        except OSError as error:
            raise errors.UserError(_cannot_write(self._path, error)) from error

    def close(self) -> None:
        """Closes the files; every row was flushed when it was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._events.close()


class Silent:
    """Writes nothing: what all processes but the first use."""

    def write(self, step: int, numbers: dict[str, float]) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read(path: Path) -> list[Row]:
    """Returns the rows of a `metrics.jsonl`; a last row that was cut short is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _keep_until(path: Path, step: int) -> None:
    """Rewrites the file without the rows after `step`, all at once."""
    if not path.exists():
        return
    kept = "".join(json.dumps(row) + "\n" for row in read(path) if row["step"] <= step)
    replace(path, kept)


def replace(path: Path, text: str) -> None:
    """Writes a file so that it is there whole, old or new, whatever happens meanwhile."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _cannot_write(path: Path, error: OSError) -> str:
    return (
        f"cannot write {path} ({error.strerror or error}): make room or mend the folder, then run "
        "the same command, which goes on from the last checkpoint"
    )
