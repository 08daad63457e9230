"""The README's command, and what a run leaves behind."""

import json
from pathlib import Path
import shlex
import shutil
import struct

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEBUG = "--config=configs/sparse_mnist.py:debug"


def test_the_main_job_of_the_readme_runs_on_debug(program, tmp_path):
    line = next(
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if "-m experiments.main" in line
    )
    words = shlex.split(line.rpartition("&&")[2])
    assert words[1:] == ["-m", "experiments.main", "--config=configs/sparse_mnist.py"]
    result = program(*words[2:-1], words[-1] + ":debug", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    assert "fvu" in result.stdout
    assert "step 6/6" in result.stderr


def test_a_run_leaves_everything_that_the_readme_names(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.json", "environment.json", "metrics.jsonl", "results.json", "DONE"}
    assert sorted(int(path.name) for path in (finished / "checkpoints").iterdir()) == [4, 6]
    assert list((finished / "tensorboard").glob("events.*"))
    for picture in ("reconstructions", "features", "density", "curves"):
        data = (finished / "figures" / f"{picture}.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > 500
        assert height > 200


def test_rows_come_when_they_are_due(finished):
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    kinds = [(row["step"], "train/loss" in row) for row in rows]
    assert kinds == [(2, True), (4, True), (4, False), (6, True), (6, False)]
    last, results = rows[-1], json.loads((finished / "results.json").read_text())
    assert {key: last[key] for key in results} == results


def test_a_finished_run_says_so_and_shows_its_table(program, finished):
    before = (finished / "metrics.jsonl").stat().st_mtime_ns
    result = program("experiments.main", DEBUG, f"--workdir={finished}")
    assert result.returncode == 0
    assert "is finished" in result.stdout
    assert "fvu" in result.stdout
    assert (finished / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_finished_run_without_its_table_says_how_to_get_it_back(program, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "results.json").unlink()
    result = program("experiments.main", DEBUG, f"--workdir={copy}")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert str(copy / "DONE") in result.stderr


def test_another_config_in_the_same_folder_is_an_error_that_names_the_difference(program, finished):
    result = program(
        "experiments.main", DEBUG, "--config.loss.l1.value=0.5", f"--workdir={finished}"
    )
    assert result.returncode == 2
    assert "loss.l1.value was 0.36, is 0.5" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_workdir_the_run_lies_under_runs():
    from experiments import workdir

    assert workdir.default("configs/sparse_mnist.py:debug").parent.name == "sparse_mnist-debug"
    assert workdir.default("configs/sparse_mnist.py").parts[:2] == ("runs", "sparse_mnist")


def test_evaluate_repeats_the_results_and_measures_other_splits(program, finished):
    result = program("experiments.evaluate", f"--workdir={finished}", "--json")
    assert json.loads(result.stdout) == json.loads((finished / "results.json").read_text())
    result = program("experiments.evaluate", f"--workdir={finished}", "--split=train[:100],test")
    assert result.returncode == 0, result.stderr
    assert "train[:100]" in result.stdout


def test_figure_draws_again(program, finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "figures" / "density.png").unlink()
    result = program("experiments.figure", f"--workdir={copy}", "--name=density")
    assert result.returncode == 0, result.stderr
    assert (copy / "figures" / "density.png").exists()


def test_dry_run_counts_parameters_bytes_and_arithmetic(program):
    result = program("experiments.main", "--config=configs/sparse_mnist.py", "--dry_run")
    assert result.returncode == 0, result.stderr
    parameters = 784 * 1024 * 2 + 1024 + 784
    assert f"parameters  {parameters:,}" in result.stdout
    # Three arrays of every parameter: itself and Adam's two moments.
    assert f"{3 * 4 * parameters / 1e6:.3g} MB on each device" in result.stdout
    gflop = float(result.stdout.split("arithmetic")[1].split()[0])
    assert gflop == pytest.approx(5 * 2 * 512 * 784 * 1024 / 1e9, rel=0.05)
    assert "warning" not in result.stdout


@pytest.mark.slow
def test_a_world_that_is_drawn_as_it_is_read_can_be_trained_on(program, tmp_path):
    config = "--config=configs/papers/sparse_but_wrong.py:debug"
    result = program("experiments.main", config, "--dry_run")
    assert result.returncode == 0, result.stderr
    assert "15,000,000 x 100" in result.stdout
    result = program("experiments.main", config, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 0, result.stderr
    assert "fvu" in result.stdout


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--config.batch_size=100000", "impossible: batch_size=100000 does not fit"),
        ("--config.loss.l1.value=3600.0", "warning: at the start l1 is"),
    ],
)
def test_dry_run_tells_settings_that_cannot_work(program, override, said):
    result = program("experiments.main", DEBUG, override, "--dry_run")
    assert said in result.stdout
    assert result.returncode == (2 if "impossible" in said else 0)
