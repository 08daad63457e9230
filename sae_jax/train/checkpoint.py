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
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave({"leaves": _leaves(state), "checksums": _checksums(state)}),
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

    def restore(self, like: PyTree, set_aside: bool = False) -> PyTree | None:
        """Returns the newest state that is whole, or None if nothing was saved yet.

        A damaged checkpoint is named in a warning, and the one before is tried.

        Args:
          like: shapes, types and shardings of the state; the run may have been saved on another
            number of devices.
          set_aside: whether damaged checkpoints, once an older one has been read, are moved to
            `damaged/` beside the folder, so that their steps can be saved again.

        Raises:
          CheckpointError: there are checkpoints, but none can be read, or they are of other shapes.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                state = self._restore(step, like)
            except errors.CheckpointError:
                raise
            except Exception as error:  # Orbax and tensorstore raise many kinds for damage.
                message = "checkpoint %d in %s is damaged (%s): trying the one before"
                logging.warning(message, step, self._folder, _reason(error))
                damaged.append(step)
                continue
            if set_aside and damaged:
                self._set_aside(damaged)
            return state
        if damaged:
            raise errors.CheckpointError(
                f"no checkpoint in {self._folder} can be read: restore them from a copy, or move "
                "the folder away to start from step 0"
            )
        return None

    def close(self) -> None:
        """Waits for what is being saved and lets go of the folder."""
        self._manager.close()

    def _restore(self, step: int, like: PyTree) -> PyTree:
        meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        saved, wanted = meta["meta"]["leaves"], _leaves(like)
        if saved != wanted:
            differing = sorted(
                name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name)
            )
            raise errors.CheckpointError(
                f"checkpoint {step} in {self._folder} is of another model or version: "
                f"{differing[0]} is {saved.get(differing[0], 'absent')}, and "
                f"{wanted.get(differing[0], 'absent')} is needed"
            )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        state = self._manager.restore(step, args=args)["state"]
        if _checksums(state) != meta["meta"]["checksums"]:
            raise ValueError("its checksums do not fit its numbers")
        return state

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True)
        return ocp.CheckpointManager(self._folder, options=options)

    def _set_aside(self, steps: list[int]) -> None:
        """Moves damaged steps away, so that the run can save them again."""
        self._manager.close()
        if jax.process_index() == 0:
            aside = self._folder.parent / "damaged"
            aside.mkdir(exist_ok=True)
            for step in steps:
                shutil.rmtree(aside / str(step), ignore_errors=True)
                shutil.move(self._folder / str(step), aside / str(step))
        self._manager = self._open()


def _leaves(tree: PyTree) -> dict[str, str]:
    """Returns type and shape of each array, by its path."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in paths}


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
