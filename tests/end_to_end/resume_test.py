"""A run that was interrupted ends as one that was not, byte for byte."""

import json
from pathlib import Path
import shutil
import signal
import time

import pytest

from benchmarks import resume

ARGUMENTS = (*resume.ARGUMENTS, "--config.num_steps=200")


@pytest.fixture(scope="module")
def undisturbed(program, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = program("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    return folder


def _wait_for_step(folder: Path, step: int) -> None:
    rows = folder / "metrics.jsonl"
    for _ in range(600):
        if rows.exists() and f'"step": {step},' in rows.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was never reached")


def test_sigterm_saves_first_and_the_same_command_goes_on(start, program, undisturbed, tmp_path):
    folder = tmp_path / "run"
    process = start("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    _wait_for_step(folder, 45)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    saved = max(int(path.name) for path in (folder / "checkpoints").iterdir())
    assert saved == json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert saved % 5 == 0
    result = program("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    assert f"goes on from step {saved}" in result.stdout
    assert resume.compare(undisturbed, folder) == []


def test_sigkill_at_any_moment_changes_nothing(start, program, undisturbed, tmp_path):
    folder = tmp_path / "run"
    for step in (25, 140):
        process = start("experiments.main", *ARGUMENTS, f"--workdir={folder}")
        _wait_for_step(folder, step)
        process.kill()
        process.wait()
    assert not (folder / "DONE").exists()
    result = program("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert resume.compare(undisturbed, folder) == []


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    program, undisturbed, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "DONE").unlink()
    newest = folder / "checkpoints" / "200"
    large = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    large.write_bytes(large.read_bytes()[: large.stat().st_size // 2])
    result = program("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert "checkpoint 200" in result.stderr
    assert "is damaged" in result.stderr
    assert "goes on from step 180" in result.stdout
    assert (folder / "damaged" / "200").is_dir()
    assert resume.compare(undisturbed, folder) == []


def test_a_flipped_byte_in_a_checkpoint_is_found(program, undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "DONE").unlink()
    newest = folder / "checkpoints" / "200"
    large = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(large.read_bytes())
    data[len(data) // 2] ^= 0x55
    large.write_bytes(data)
    looked = program("experiments.evaluate", f"--workdir={folder}")
    assert "is damaged" in looked.stderr
    assert newest.is_dir(), "a program that only reads must move nothing"
    result = program("experiments.main", *ARGUMENTS, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    assert "is damaged" in result.stderr
    assert (folder / "damaged" / "200").is_dir()
    assert resume.compare(undisturbed, folder) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_sigkills_at_random_moments(program):
    result = program("benchmarks.resume", "--kills=20")
    assert "equal, byte for byte" in result.stdout, result.stdout + result.stderr
