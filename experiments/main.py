"""Trains one autoencoder: `python -m experiments.main --config=configs/sparse_mnist.py`.

Flags and processes only: what is trained is decided in `experiments.build`, how in `sae_jax.train`.
Run it again with the same --workdir and it goes on where it was stopped.
"""

import json
from pathlib import Path
import sys
import zlib

from absl import flags
import jax
from jax.experimental import multihost_utils
from ml_collections import config_flags
import numpy as np

from experiments import build, checks, cli, dry_run, report, stores, workdir
from sae_jax import errors
from sae_jax.train import checkpoint, loop, progress, writer

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to train: a file of configs/, with :variant if it has any.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is kept. Default: runs/<config>/<time>."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what would be done, and do nothing.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other processes of the job.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "With --distributed, host:port of process 0 where no cluster tells it."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "With --coordinator: how many processes.")
_PROCESS = flags.DEFINE_integer("process", None, "With --coordinator: which one this is, from 0.")


def main() -> int:
    """Trains, resumes, or says that there is nothing left to do; returns the exit status."""
    name = cli.config_name("configs", "which experiment?")
    cli.use_compilation_cache()
    if _DISTRIBUTED.value:
        _join()
    elif any(flag.value is not None for flag in (_COORDINATOR, _PROCESSES, _PROCESS)):
        raise errors.UserError("--coordinator, --processes and --process need --distributed")
    if _DRY_RUN.value:
        return dry_run.show(_CONFIG.value)
    folder = Path(_WORKDIR.value) if _WORKDIR.value else workdir.default(name)
    if jax.process_index() > 0:
        return 0 if workdir.finished(folder) else _train(folder)
    workdir.refuse_foreign(folder)
    with workdir.claimed(folder):
        run_is_new = not (folder / "config.json").exists()
        try:
            if workdir.prepare(folder, _CONFIG.value):
                print(f"{folder} is finished:")
                report.show_results(folder)
                return 0
            return _train(folder)
        except errors.UserError:
            if run_is_new:
                workdir.take_back(folder)
            raise


def _train(folder: Path) -> int:
    """Trains in a prepared folder."""
    # Several processes must agree on the step to stop at: jax sees to that.
    stop = cli.Stop() if jax.process_count() == 1 else lambda: False
    first = jax.process_index() == 0
    stores.write_missing(_CONFIG.value)
    task = build.task(_CONFIG.value)
    checks.refuse_problems(task)
    if first:
        workdir.refuse_other_data(folder, task)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", _CONFIG.value.keep_checkpoints)
    like = loop.template(task)
    state = checkpoints.restore(like, set_aside=True)
    if state is None:
        state = loop.initialise(task, like)
    now = int(state.step)
    if first:
        report.announce(task, folder, state, resumed=now)
    rows = writer.Writer(folder, now) if first else writer.Silent()
    plan = task.plan
    bar = progress.Progress(plan.num_steps, plan.batch_size, now) if first else None
    try:
        state, totals = loop.train(task, state, checkpoints, rows, bar, stop)
    except loop.Preempted as reason:
        print(f"{reason}: the same command goes on with --workdir={folder}", file=sys.stderr)
        return cli.EXIT_PREEMPTED
    finally:
        rows.close()
        if bar is not None:
            bar.close()
    checkpoints.close()
    try:
        report.finish(task, folder, state, totals)
    except OSError as error:
        raise errors.UserError(
            f"cannot write the results to {folder} ({error.strerror}): make room or mend the "
            "folder, then run the same command; the trained state is saved"
        ) from error
    return 0


def _join() -> None:
    """Joins the other processes: as the cluster says, or as the flags do."""
    if _WORKDIR.value is None and not _DRY_RUN.value:
        raise errors.UserError("--distributed needs --workdir: all processes share one folder")
    try:
        jax.distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    except (ValueError, RuntimeError) as error:
        raise errors.UserError(
            f"cannot join the other processes ({error}): where no cluster tells them, set "
            "--coordinator, --processes and --process"
        ) from error
    config = json.dumps(build.plain(_CONFIG.value), sort_keys=True)
    try:
        multihost_utils.assert_equal(np.uint32(zlib.crc32(config.encode())), "config")
    except AssertionError as error:
        raise errors.UserError("the processes have different configs: start all alike") from error


if __name__ == "__main__":
    cli.run(main)
