"""Every mistake ends in one line that names the thing and the remedy, and in a status not 0."""

import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from sae_jax.data import mnist

ROOT = Path(__file__).resolve().parent.parent.parent
DEBUG = "--config=configs/sparse_mnist.py:debug"


def _one_line(result: subprocess.CompletedProcess, *said: str) -> None:
    """Asserts that the last line of stderr says so, and that nothing else is an error."""
    assert result.returncode not in (0, -9)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert "Traceback" not in result.stderr, result.stderr
    assert lines[-1].startswith("error: "), result.stderr
    for words in said:
        assert words in lines[-1], lines[-1]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config.model.d_ase=7", ("d_ase", "d_sae")),
        ("--config.model.d_sae=many", ("d_sae", "many")),
        ("--config.keep_checkpoints=0", ("config.keep_checkpoints=0",)),
        ("--config.loss.l1=0.1", ("--config.loss.l1=0.1", "set one of its keys")),
        (
            '--config.model.activation={"name": "topk", "k": 9999}',
            ("config.model.activation.k=9999", "choose a smaller k"),
        ),
        (
            '--config.loss={"mse_sum": 1.0, "bce": 1.0}',
            ("config.loss.bce", 'config.model.output="sigmoid"'),
        ),
        ("--config.data.split=validation", ('"validation"', "train, test")),
        ("--config.data.folder=/nowhere/at/all", ("/nowhere/at/all",)),
        ("--config.batch_size=1000", ("512 examples", "config.batch_size")),
        ("--workdir=setup.cfg/run", ("setup.cfg/run", "name a folder that can be written")),
        ("--workdir=tests", ("--workdir=tests", "name a new folder")),
        ("--wrkdir=runs", ("wrkdir", "workdir")),
        ("oops", ("oops",)),
    ],
)
def test_a_mistake_is_one_line(program, tmp_path, override, said):
    workdir = [] if "workdir" in override else [f"--workdir={tmp_path / 'run'}"]
    _one_line(program("experiments.main", DEBUG, *workdir, override), *said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("--config=configs/sparse_mnits.py", "sparse_mnits.py"),
        ("--config=configs/sparse_mnist.py:debgu", 'no variant "debgu"'),
        ("", "configs/sparse_mnist.py"),
    ],
)
def test_a_config_that_is_not_there_is_one_line(program, config, said):
    _one_line(program("experiments.main", *([config] if config else [])), said)


def test_nan_in_the_data_names_the_example(program, tmp_path):
    x = np.zeros((600, 784), np.float32)
    x[417, 3] = np.nan
    np.save(tmp_path / "train.npy", x)
    np.save(tmp_path / "test.npy", x[:300])
    data = f'--config.data={{"name": "folder", "split": "train", "folder": "{tmp_path}"}}'
    result = program("experiments.main", DEBUG, data, f"--workdir={tmp_path / 'run'}")
    _one_line(result, "example 417", "nan")


_DIVERGING = (DEBUG, "--config.optim.learning_rate.value=1e38", "--config.loss.l1.value=0.0")


@pytest.mark.parametrize("num_steps", [1, 40])
def test_a_state_that_is_not_finite_ends_the_run_and_is_never_saved(program, tmp_path, num_steps):
    folder = tmp_path / "run"
    result = program(
        "experiments.main",
        *_DIVERGING,
        *("--config.optim.learning_rate.warmup=0", "--config.optim.constraint=none"),
        *("--config.checkpoint_every=1", "--config.log_every=1"),
        *(f"--config.num_steps={num_steps}", f"--workdir={folder}"),
    )
    _one_line(result, "not finite", "config.optim.learning_rate")
    assert [path.name for path in (folder / "checkpoints").glob("[0-9]*")] == []
    assert not (folder / "DONE").exists()


def test_the_remedy_for_a_loss_that_is_not_finite_can_be_set(program, tmp_path):
    result = program(
        "experiments.main", DEBUG, "--config.optim.clip_norm=1.0", f"--workdir={tmp_path / 'run'}"
    )
    assert result.returncode == 0, result.stderr


def test_data_that_changed_are_noticed_when_a_run_goes_on(program, tmp_path):
    x = np.random.default_rng(0).random((600, 784), np.float32)
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}.npy", x)
    data = f'--config.data={{"name": "folder", "split": "train", "folder": "{tmp_path}"}}'
    arguments = (DEBUG, data, f"--workdir={tmp_path / 'run'}")
    assert program("experiments.main", *arguments).returncode == 0
    (tmp_path / "run" / "DONE").unlink()
    np.save(tmp_path / "train.npy", x[:500])
    _one_line(program("experiments.main", *arguments), "train", "have changed", "600", "500")


def test_a_config_that_raises_is_one_line(program, tmp_path):
    config = tmp_path / "broken.py"
    config.write_text("def get_config():\n    return nonesuch\n")
    _one_line(program("experiments.main", f"--config={config}"), "nonesuch")


def test_flags_of_several_processes_alone_are_refused(program, tmp_path):
    result = program("experiments.main", DEBUG, "--processes=2", f"--workdir={tmp_path / 'run'}")
    _one_line(result, "--distributed")


# Becomes the program, after no file of it may grow past 100 kB.
_NO_ROOM = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
os.execv(sys.executable, [sys.executable, "-m", "experiments.main", *sys.argv[1:]])
"""


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(program, tmp_path):
    folder = tmp_path / "run"
    mnist.load("test[:1]")  # Fetched while there is room.
    # Coverage too would find no room for its data, and say so.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    process = subprocess.run(
        [sys.executable, "-c", _NO_ROOM, DEBUG, f"--workdir={folder}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    _one_line(process, "cannot write", "run the same command")
    result = program("experiments.main", DEBUG, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert (folder / "DONE").exists()


def test_a_second_process_is_kept_out_of_the_folder(program, tmp_path):
    from experiments import workdir

    with workdir.claimed(tmp_path / "run"):
        (tmp_path / "run" / "environment.json").write_text("{}")  # As one that has just begun.
        result = program("experiments.main", DEBUG, f"--workdir={tmp_path / 'run'}")
        assert (tmp_path / "run" / "environment.json").exists()
        assert (tmp_path / "run" / ".lock").exists()
    _one_line(result, "another process runs in")
