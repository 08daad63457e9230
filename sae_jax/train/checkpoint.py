"""Saves and restores a state; the only file that imports orbax."""

from pathlib import Path
import shutil
from typing import Any

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from sae_jax import errors
from sae_jax.ops import checksum

PyTree = Any


class Checkpoints:
    """The checkpoints of one run, a folder a step; a step is there whole or not at all."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        """Opens the folder, or makes it. `keep`: how many of the newest steps stay."""
        self._folder = folder.absolute()
        self._keep = keep
        self._asked = 0
        try:
            self._manager = self._open()
        except OSError as error:
            raise errors.CheckpointError(_cannot_write(self._folder, error)) from error

    def steps(self) -> list[int]:
        """Returns the steps that are there, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree) -> None:
        """Starts to save; the arrays of `state` may be donated as soon as this returns.

        Raises:
          CheckpointError: this save, or the one before it, could not be written.
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(_checksums(state))
        )
        try:
            self._manager.save(step, args=args)
        except (OSError, ValueError, RuntimeError) as error:
            raise errors.CheckpointError(_cannot_write(self._folder, error)) from error

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises as `save` does."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise errors.CheckpointError(_cannot_write(self._folder, error)) from error

    def preempted(self) -> bool:
        """Returns whether the job's machines are about to be taken away.

        All processes agree, if all ask equally often. With one process it is always False.
        """
        # What jax agrees on is a count of calls: one that jumps, as steps do, would pass it by.
        self._asked += 1
        return jax.process_count() > 1 and self._manager.reached_preemption(self._asked)

    def restore(self, like: PyTree) -> PyTree | None:
        """Returns the newest state that is whole, or None if nothing was saved yet.

        A damaged checkpoint is named in a warning and moved to `damaged/` beside the folder.

        Args:
          like: shapes, types and shardings of the state; the run may have been saved on another
            number of devices.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self._restore(step, like)
            except Exception as error:  # Orbax and tensorstore raise many kinds for damage.
                logging.warning(
                    "checkpoint %d in %s is damaged (%s): trying the one before",
                    step,
                    self._folder,
                    _reason(error),
                )
                self._set_aside(step)
        if steps:
            raise errors.CheckpointError(
                f"no checkpoint in {self._folder} can be read (they are in "
                f"{self._folder.parent / 'damaged'}): run the same command to start from step 0"
            )
        return None

    def close(self) -> None:
        """Waits for what is being saved and lets go of the folder."""
        self._manager.close()

    def _restore(self, step: int, like: PyTree) -> PyTree:
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), checksums=ocp.args.JsonRestore()
        )
        saved = self._manager.restore(step, args=args)
        state = saved["state"]
        if _checksums(state) != saved["checksums"]:
            raise ValueError("its checksums do not fit its numbers")
        return state

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True)
        return ocp.CheckpointManager(self._folder, options=options)

    def _set_aside(self, step: int) -> None:
        """Moves a damaged step away, so that the run can save that step again."""
        if jax.process_index() == 0:
            aside = self._folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            shutil.move(self._folder / str(step), aside / str(step))
        self._manager.close()
        self._manager = self._open()


def _checksums(state: PyTree) -> list[int]:
    return np.asarray(jax.jit(checksum.checksums)(state)).tolist()


def _cannot_write(folder: Path, error: Exception) -> str:
    return (
        f"cannot write a checkpoint to {folder} ({_reason(error)}): make room or mend the "
        "folder, then run the same command, which goes on from the last checkpoint"
    )


def _reason(error: Exception) -> str:
    """Returns what went wrong; of a long chain of reasons, "this: that: why", the last."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) < 160 else text.rsplit(": ", 1)[-1][:160]
