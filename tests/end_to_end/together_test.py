"""A sweep that one process trains leaves behind what its trials would have left by themselves."""

import json
from pathlib import Path
import signal
import time

import numpy as np
import pytest

from experiments import run

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
    for name in ("results.json", "metrics.jsonl"):
        texts = [(path / name).read_text() for path in (folder, alone)]
        rows = [[json.loads(line) for line in text.splitlines()] for text in texts]
        rows = rows if name == "metrics.jsonl" else [[json.loads(text)] for text in texts]
        for one, other in zip(*rows, strict=True):
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


def test_numbers_of_any_kind_join_and_what_fails_fails_alone(program, tmp_path):
    common = f"{DEBUG} {' '.join(EXTRA)} --config.model.decoder_norm"
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "letter").write_text("not a run")
    changes = ("0.5", "1.0", "0.1 --config.optim.clip_norm=1.0", "2.0 --config.seed=3")
    trials = [
        f"--trial={common}={change} --workdir={tmp_path / str(place)}"
        for place, change in enumerate(changes)
    ]
    result = program("experiments.together", *trials)
    assert result.returncode == 2
    assert "holds letter but no run" in result.stderr
    assert "optim.clip_norm=1.0: another program, for 1 of 3 runs" in result.stdout
    assert "2 runs of 12 steps, by one program" in result.stdout
    assert [(tmp_path / str(place) / "DONE").exists() for place in range(4)] == [1, 0, 1, 1]


def test_sigterm_saves_all_and_the_same_command_goes_on(start, program, tmp_path):
    trials = [
        f"--trial={DEBUG} {' '.join(EXTRA)} --config.num_steps=4000 --config.log_every=5 "
        f"--config.eval_every=0 --config.seed={seed} --workdir={tmp_path / str(seed)}"
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
    saved = [
        max(map(int, (path.name for path in (tmp_path / f / "checkpoints").iterdir())))
        for f in ("0", "1")
    ]
    assert saved[0] == saved[1]
    result = program("experiments.together", *trials)
    assert result.returncode == 0, result.stderr
    for seed in range(2):
        log = (tmp_path / str(seed) / "log.txt").read_text()
        assert f"goes on from step {saved[0]:,}" in log
        assert (tmp_path / str(seed) / "DONE").exists()
