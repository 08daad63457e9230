"""Runs over several devices and several processes, and from one number of devices to another."""

import dataclasses
import json
from pathlib import Path
import socket
import time

import jax
from jax.sharding import AxisType
import numpy as np
import pytest

from configs import sparse_mnist
from experiments import build
from sae_jax.data import base
from sae_jax.train import checkpoint, loop, writer

SLOW = pytest.mark.slow  # What others of its kind show as well.
MESHES = {"1x1": (1, 1), "4x1": (4, 1), "2x2": (2, 2)}
DEBUG = "--config=configs/sparse_mnist.py:debug"


def _task(variant: str, shape: tuple[int, int], monkeypatch, **changes) -> loop.Task:
    """Returns a small run on random data over so many devices."""
    x = np.random.default_rng(0).integers(0, 256, (600, 16), np.uint8)
    data = base.Arrays(base.Spec("random", "train", (16,)), x)
    monkeypatch.setattr(build, "data", lambda group: data)
    config = sparse_mnist.get_config(variant)
    config.model.d_sae = 32
    config.evals.test.batch_size = 60
    config.update(num_steps=8, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
    config.update(changes)
    task = build.task(config)
    count = shape[0] * shape[1]
    grid = jax.make_mesh(
        shape,
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[:count],
    )
    return dataclasses.replace(task, mesh=grid)


def _train(task: loop.Task, folder: Path, stop=lambda: False) -> tuple[dict, list[dict]]:
    """Trains, from the newest checkpoint if there is one; returns parameters and rows."""
    folder.mkdir(exist_ok=True)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    like = loop.template(task)
    state = checkpoints.restore(like)
    state = loop.initialise(task, like) if state is None else state
    rows = writer.Writer(folder, int(state.step))
    try:
        state, _ = loop.train(task, state, checkpoints, rows, stop=stop)
    finally:
        rows.close()
        checkpoints.close()
    return jax.device_get(state.params), writer.read(folder / "metrics.jsonl")


def _close(left: tuple[dict, list[dict]], right: tuple[dict, list[dict]]) -> None:
    for name, value in left[0].items():
        np.testing.assert_allclose(value, right[0][name], rtol=2e-4, atol=2e-6)
    assert len(left[1]) == len(right[1])
    for one, other in zip(left[1], right[1], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("variant", ["", pytest.param("free", marks=SLOW), "kl"])
def test_one_and_four_devices_give_the_same_run(variant, monkeypatch, tmp_path):
    alone = _train(_task(variant, (1, 1), monkeypatch), tmp_path / "1x1")
    for name, shape in MESHES.items():
        if name != "1x1":
            _close(alone, _train(_task(variant, shape, monkeypatch), tmp_path / name))


@pytest.mark.parametrize("shape", [(1, 1), pytest.param((2, 1), marks=SLOW), (2, 2)])
def test_a_run_goes_on_with_another_number_of_devices(shape, monkeypatch, tmp_path):
    whole = _train(_task("", (1, 1), monkeypatch), tmp_path / "whole")
    moved = tmp_path / "moved"
    with pytest.raises(loop.Preempted, match="and saved it"):
        _train(_task("", (4, 1), monkeypatch), moved, stop=lambda: _steps(moved) >= 4)
    _close(whole, _train(_task("", shape, monkeypatch), moved))


def _steps(folder: Path) -> int:
    rows = writer.read(folder / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def test_a_state_saved_on_four_devices_is_the_same_on_one(monkeypatch, tmp_path):
    four = _task("", (4, 1), monkeypatch)
    params, _ = _train(four, tmp_path / "run")
    for shape in (*MESHES.values(), (1, 4)):
        checkpoints = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints")
        state = checkpoints.restore(loop.template(_task("", shape, monkeypatch)))
        checkpoints.close()
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), params)


def test_a_streamed_data_set_gives_the_same_run_as_a_resident_one(monkeypatch, tmp_path):
    resident = _task("", (2, 1), monkeypatch)
    streamed = dataclasses.replace(
        resident, data=dataclasses.replace(resident.data, resident_bytes=0)
    )
    assert resident.data.resident
    assert not streamed.data.resident
    left, right = _train(resident, tmp_path / "left"), _train(streamed, tmp_path / "right")
    jax.tree.map(np.testing.assert_array_equal, left[0], right[0])
    assert left[1] == right[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_train_as_one_with_two_devices(program, start, tmp_path):
    arguments = (DEBUG, "--config.num_steps=20", "--config.log_every=5")
    group = ("--distributed", f"--coordinator=127.0.0.1:{_free_port()}", "--processes=2")
    two = f"--workdir={tmp_path / 'two'}"
    processes = [
        start("experiments.main", *arguments, two, *group, f"--process={i}") for i in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
    one = program(
        "experiments.main", *arguments, f"--workdir={tmp_path / 'one'}", JAX_NUM_CPU_DEVICES="2"
    )
    assert one.returncode == 0, one.stderr
    rows = [writer.read(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1])
    for left, right in zip(*rows, strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2


def test_sigterm_to_one_of_two_processes_stops_both_at_the_same_step(start, tmp_path):
    group = ("--distributed", f"--coordinator=127.0.0.1:{_free_port()}", "--processes=2")
    arguments = (DEBUG, "--config.num_steps=20000", "--config.checkpoint_every=0")
    folder = tmp_path / "run"
    processes = [
        start("experiments.main", *arguments, f"--workdir={folder}", *group, f"--process={i}")
        for i in range(2)
    ]
    for _ in range(1200):
        if (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").read_text():
            break
        time.sleep(0.1)
    processes[1].terminate()
    for process in processes:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 143, output
        assert "and saved it" in output
    saved = [int(path.name) for path in (folder / "checkpoints").iterdir()]
    assert saved == [writer.read(folder / "metrics.jsonl")[-1]["step"]]
