"""Writes what a run reports: `metrics.jsonl`, one row a step, and TensorBoard events beside it.

A row holds nothing that depends on when or how often the run was interrupted, so a resumed run
leaves the same file as an undisturbed one.
"""

import contextlib
import importlib
import json
import os
from pathlib import Path
import shutil
import sys
from typing import Any

from absl import logging

from sae_jax import errors, files

Row = dict[str, Any]


class Writer:
    """Appends rows for one run."""

    def __init__(self, workdir: Path, step: int = 0) -> None:
        """Opens the files; rows after `step`, which a run that was killed left, are taken out."""
        tensorboard = _without_torch("tensorboardX")
        self._path = workdir / "metrics.jsonl"
        try:
            _keep_until(self._path, step)
            self._file = self._path.open("a")
            self._events = tensorboard.SummaryWriter(
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


def _without_torch(name: str) -> Any:
    """Imports a package that would import torch where there is one: seconds, and for nothing."""
    known = "torch" in sys.modules
    try:
        if not known:
            sys.modules["torch"] = None  # type: ignore[assignment]  # Says that there is none.
        return importlib.import_module(name)
    finally:
        if not known:
            del sys.modules["torch"]


def read(path: Path) -> list[Row]:
    """Returns the rows of a `metrics.jsonl`; a line that is no row, or half of one, is left out."""
    return _rows(path)[0]


def _rows(path: Path) -> tuple[list[Row], int]:
    """Returns the rows of a file, and how many of its lines before the last are no rows."""
    if not path.exists():
        return [], 0
    lines = path.read_text(errors="replace").splitlines()
    rows, bad = [], 0
    for place, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            bad += place + 1 < len(lines)
    return rows, bad


def _keep_until(path: Path, step: int) -> None:
    """Rewrites the file without the rows after `step`, all at once."""
    if not path.exists():
        if step:
            logging.warning("%s is gone: the rows up to step %d are lost", path, step)
        return
    rows, bad = _rows(path)
    if bad:
        copy = path.with_name(path.name + ".damaged")
        shutil.copy(path, copy)
        logging.warning("%s: %d lines are no rows and are left out; see %s", path, bad, copy)
    files.replace(path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step))


def _cannot_write(path: Path, error: OSError) -> str:
    return (
        f"cannot write {path} ({error.strerror or error}): make room or mend the folder, then run "
        "the same command, which goes on from the last checkpoint"
    )
