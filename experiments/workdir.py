"""A run's folder: what state it is in, and whether this config may go on in it.

config.json       the config, whole and resolved
environment.json  versions, devices and the command that started the run
metrics.jsonl     a row a step; tensorboard/ has the same numbers
checkpoints/      states, a folder a step
results.json      the metrics at the end: {"test/fvu": ...}
figures/          pictures
DONE              the run is finished
"""

from collections.abc import Iterator
import contextlib
import datetime
import fcntl
import json
import os
from pathlib import Path
import platform
import shlex
import shutil
import sys
from typing import Any

import jax
import ml_collections

from experiments import build
import sae_jax
from sae_jax import errors, files, sweep
from sae_jax.train import loop

_OURS_AT_START = ("log.txt", ".lock", "environment.json")


def default(config_flag: str) -> Path:
    """Returns `runs/<config>/<time>` for the value of `--config`."""
    path, _, argument = config_flag.partition(":")
    name = Path(path).stem + (f"-{argument}" if argument else "")
    return Path("runs") / name / datetime.datetime.now().strftime("%Y%m%d-%H%M%S")


def prepare(workdir: Path, config: ml_collections.ConfigDict) -> bool:
    """Makes a new run's folder, or checks that this config's run is the one that lies there.

    Returns:
      Whether that run is finished.

    Raises:
      UserError: the folder cannot be written, holds another run, or holds something else.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _refuse_other(workdir, load_config(workdir), config)
        else:
            # The config last: a folder that has one is a run.
            environment = json.dumps(_environment(), indent=2) + "\n"
            files.replace(workdir / "environment.json", environment)
            files.replace(path, json.dumps(build.plain(config), indent=2) + "\n")
    except OSError as error:
        raise errors.UserError(
            f"cannot use --workdir={workdir} ({error.strerror}): name a folder that can be written"
        ) from error
    return finished(workdir)


def refuse_foreign(workdir: Path) -> None:
    """Raises if the folder is there and holds files, but no run."""
    if not workdir.is_dir() or (workdir / "config.json").exists():
        return
    foreign = sorted(
        entry.name
        for entry in workdir.iterdir()
        if entry.name not in _OURS_AT_START and entry.suffix != files.PARTIAL
    )
    if foreign:
        raise errors.UserError(
            f"--workdir={workdir} holds {foreign[0]} but no run: name a new folder"
        )


def refuse_other_data(workdir: Path, task: loop.Task) -> None:
    """Notes what the data are when a run starts, and raises if it goes on with others."""
    path = workdir / "data.json"
    found = {"train": task.data.fingerprint()} | {
        f"evals.{name}": evaluation.data.fingerprint()
        for name, evaluation in task.evaluations.items()
    }
    if not path.exists():
        files.replace(path, json.dumps(found, indent=2) + "\n")
        return
    for name, before in json.loads(path.read_text()).items():
        if found.get(name) != before:
            raise errors.UserError(
                f"the data of {name} have changed since {workdir} was started ({before} then, "
                f"{found.get(name)} now): bring them back, or name another --workdir"
            )


def finished(workdir: Path) -> bool:
    """Returns whether the run there is finished."""
    return (workdir / "DONE").exists()


def load_config(workdir: Path) -> ml_collections.ConfigDict:
    """Returns the config of the run that lies there."""
    path = workdir / "config.json"
    try:
        return build.from_json(path.read_text())
    except FileNotFoundError as error:
        raise errors.UserError(f"no run in {workdir}: there is no config.json") from error
    except (OSError, json.JSONDecodeError) as error:
        raise errors.UserError(f"cannot read {path} ({error}): restore or delete it") from error


@contextlib.contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Keeps a second process out of the folder; a process that is killed lets go by itself."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("w")
    except OSError as error:
        raise errors.UserError(
            f"cannot use --workdir={workdir} ({error.strerror}): name a folder that can be written"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise errors.UserError(
            f"another process runs in {workdir}: wait for it, or name another --workdir"
        ) from error
    except OSError:
        pass  # Some network file systems have no locks.
    try:
        yield
    finally:
        file.close()


def take_back(workdir: Path) -> None:
    """Removes a new run's files, if it wrote no row: a mended command then starts afresh."""
    rows = workdir / "metrics.jsonl"
    if rows.exists() and rows.stat().st_size:
        return
    with contextlib.suppress(OSError):  # It cannot be written, or holds a checkpoint or a log.
        if (workdir / "checkpoints").exists():
            (workdir / "checkpoints").rmdir()
        shutil.rmtree(workdir / "tensorboard", ignore_errors=True)
        for name in (rows.name, "config.json", "environment.json", "data.json", ".lock"):
            (workdir / name).unlink(missing_ok=True)
        workdir.rmdir()


def _refuse_other(
    workdir: Path, old: ml_collections.ConfigDict, new: ml_collections.ConfigDict
) -> None:
    before, after = sweep.flat(build.plain(old)), sweep.flat(build.plain(new))
    differing = [
        f"{key} was {before.get(key, 'absent')}, is {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise errors.UserError(
            f"{workdir} holds a run of another config ({'; '.join(differing[:3])}{more}): "
            "name another --workdir, or take the change back"
        )


def _environment() -> dict[str, Any]:
    return {
        "sae_jax": sae_jax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "folder": os.getcwd(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
