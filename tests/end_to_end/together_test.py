"""A sweep that one process trains leaves behind what its trials would have left by themselves."""

import json
from pathlib import Path
import signal
import time

import numpy as np
import pytest

from experiments import run
from sae_jax.train import writer

DEBUG = "--config=configs/sparse_mnist.py:debug"
EXTRA = ("--config.data.name=digits", "--config.num_steps=12", "--config.checkpoint_every=6")


@pytest.fixture(scope="module")
def together(program, tmp_path_factory) -> Path:
    """The folder of a sweep over weights and seeds, trained together."""
    root = tmp_path_factory.mktemp("together")
    arguments = (DEBUG, "--sweep=l1", f"--root={root}", "--only=0.4", "--together")
    result = program("launch.local", *arguments, "--", *EXTRA)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "±" in result.stdout
    assert "3 runs of 12 steps, by one program" in (root / "together.txt").read_text()
    return root / "l1"


def test_a_trial_is_as_if_it_had_been_trained_alone(program, together, tmp_path):
    folder, alone = together / "loss.l1.value=0.4,seed=2", tmp_path / "alone"
    changes = ("--config.loss.l1.value=0.4", "--config.seed=2")
    result = program("experiments.main", DEBUG, f"--workdir={alone}", *EXTRA, *changes)
    assert result.returncode == 0, result.stderr
    rows = [writer.read(path / "metrics.jsonl") for path in (folder, alone)]
    results = [json.loads((path / "results.json").read_text()) for path in (folder, alone)]
    for one, other in [*zip(*rows, strict=True), results]:
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    states = [run.load(path)[1] for path in (folder, alone)]
    np.testing.assert_allclose(*(state.params["w_enc"] for state in states), atol=1e-5)
    assert (folder / "config.json").read_text() == (alone / "config.json").read_text()
    names = [sorted(str(path.relative_to(top)) for path in _files(top)) for top in (folder, alone)]
    assert names[0] == names[1]


def _files(folder: Path):
    return [*folder.glob("figures/*"), *folder.glob("checkpoints/*"), *folder.glob("*.json")]


def test_a_trial_can_be_measured_and_exported(program, together, tmp_path):
    folder = together / "loss.l1.value=0.4,seed=0"
    result = program("experiments.evaluate", f"--workdir={folder}", "--json")
    found, kept = json.loads(result.stdout), json.loads((folder / "results.json").read_text())
    assert found == pytest.approx(kept, rel=1e-5)
    result = program("experiments.export", f"--workdir={folder}", f"--out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr


CONFIG = """
from configs import sparse_mnist

def get_config(arg=""):
    config = sparse_mnist.get_config("debug")
    config.model.decoder_norm = 1.0
    config.model.activation = dict(name="jumprelu", start=0.01, bandwidth=0.1)
    config.optim.b2 = 0.999
    return config
"""


def test_numbers_of_any_kind_join_and_what_fails_fails_alone(program, tmp_path):
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "letter").write_text("not a run")
    changes = [
        "--config.model.decoder_norm=0.5 --config.model.activation.start=0.02",
        "",
        "--config.optim.clip_norm=1.0",
        "--config.model.decoder_norm=2 --config.optim.b2=0.99 --config.seed=3",
    ]
    common = f"--config={tmp_path / 'toy.py'} {' '.join(EXTRA)}"
    folders = [tmp_path / str(place) for place in range(4)]
    trials = [
        f"{common} {change} --workdir={folder}"
        for change, folder in zip(changes, folders, strict=True)
    ]
    result = program("experiments.together", *(f"--trial={trial}" for trial in trials))
    assert result.returncode == 2
    assert "holds letter but no run" in result.stderr
    assert [(folder / "DONE").exists() for folder in folders] == [True, False, True, True]
    assert "optim.clip_norm=1.0: another program, for 1 of 3 runs" in result.stdout
    assert "2 runs of 12 steps, by one program" in result.stdout
    alone = [*f"{common} {changes[3]}".split(), f"--workdir={tmp_path / 'alone'}"]
    assert program("experiments.main", *alone).returncode == 0
    results = [
        json.loads((folder / "results.json").read_text())
        for folder in (folders[3], tmp_path / "alone")
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def test_a_wrong_trial_is_one_line(program, tmp_path):
    for trial, said in (
        (f"{DEBUG} --config.sed=1 --workdir={tmp_path / 'run'}", "did you mean"),
        (f"{DEBUG} --config.model.depth=1 --workdir={tmp_path / 'run'}", "depth"),
        (DEBUG, "it needs --config=... and --workdir=..."),
    ):
        result = program("experiments.together", f"--trial={trial}")
        assert result.returncode == 2
        assert said in result.stderr.lower()
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_sigterm_saves_all_and_the_same_command_goes_on(start, program, tmp_path):
    extra = "--config.data.name=digits --config.num_steps=1000 --config.log_every=5"
    extra += " --config.checkpoint_every=0 --config.eval_every=0"
    trials = [
        f"--trial={DEBUG} {extra} --config.seed={seed} --workdir={tmp_path / str(seed)}"
        for seed in range(2)
    ]
    process = start("experiments.together", *trials)
    rows = tmp_path / "0" / "metrics.jsonl"
    for _ in range(1200):
        if rows.exists() and '"step": 20,' in rows.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    saved = {path.name for path in tmp_path.glob("*/checkpoints/*")}
    assert len(saved) == 1
    assert len(list(tmp_path.glob("*/checkpoints/*"))) == 2
    result = program("experiments.together", *trials)
    assert result.returncode == 0, result.stderr
    for seed in range(2):
        log = (tmp_path / str(seed) / "log.txt").read_text()
        assert f"goes on from step {int(*saved):,}" in log
        assert (tmp_path / str(seed) / "DONE").exists()
