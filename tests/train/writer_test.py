import contextlib
import json
import os
from pathlib import Path

import pytest

from sae_jax import errors
from sae_jax.train import writer

ROWS = [{"step": step, "train/loss": 1 / step} for step in (1, 2, 4)]


def _write(folder, rows, step=0):
    found = writer.Writer(folder, step)
    for row in rows:
        numbers = {name: value for name, value in row.items() if name != "step"}
        found.write(row["step"], numbers)
    found.flush()
    found.close()


def test_a_row_is_a_line_of_json(tmp_path):
    _write(tmp_path, ROWS)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines[0] == '{"step": 1, "train/loss": 1.0}'
    assert [json.loads(line) for line in lines] == ROWS
    assert writer.read(tmp_path / "metrics.jsonl") == ROWS


def test_rows_are_there_before_the_file_is_closed(tmp_path):
    found = writer.Writer(tmp_path)
    found.write(1, {"loss": 2.0})
    assert writer.read(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]
    found.close()


def test_tensorboard_gets_the_same_numbers(tmp_path):
    _write(tmp_path, [{"step": 1, "train/loss": 0.5, "test/fvu": 0.25}])
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()
    assert b"test/fvu" in events.read_bytes()


@pytest.mark.parametrize(("resumed", "kept"), [(4, 3), (3, 2), (2, 2), (1, 1), (0, 0)])
def test_rows_after_the_step_where_a_run_goes_on_are_taken_out(tmp_path, resumed, kept):
    _write(tmp_path, ROWS)
    _write(tmp_path, [{"step": 9, "train/loss": 0.0}], resumed)
    found = writer.read(tmp_path / "metrics.jsonl")
    assert found == [*ROWS[:kept], {"step": 9, "train/loss": 0.0}]


def test_a_resumed_file_is_that_of_an_undisturbed_run(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    _write(whole, ROWS)
    _write(resumed, ROWS[:2])
    _write(resumed, ROWS[1:], 1)
    files = [(folder / "metrics.jsonl").read_bytes() for folder in (whole, resumed)]
    assert files[0] == files[1]


def test_a_last_line_that_was_cut_short_is_left_out_wherever_it_was_cut(tmp_path):
    _write(tmp_path, ROWS)
    path = tmp_path / "metrics.jsonl"
    text = path.read_text()
    last = text.rstrip("\n").rindex("\n") + 1
    for end in range(last, len(text) - 1):
        path.write_text(text[:end])
        assert writer.read(path) == ROWS[:2]
    path.write_text(text[: last + 9])
    _write(tmp_path, ROWS[2:], 2)
    assert path.read_text() == text


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert writer.read(tmp_path / "metrics.jsonl") == []


def test_rows_that_do_not_reach_the_disk_are_said_in_one_line(tmp_path, monkeypatch):
    found = writer.Writer(tmp_path)

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(errors.UserError, match=r"metrics.jsonl \(No space left on device\):"):
            found.flush()
    found.close()


def _on_a_full_disk(folder):
    found = writer.Writer(folder)
    found._file.close()
    found._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    return found


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_in_one_line(tmp_path):
    found = _on_a_full_disk(tmp_path)
    with pytest.raises(errors.UserError, match=r"metrics.jsonl \(No space left on device\): make"):
        found.write(1, {"loss": 1.0})
    with contextlib.suppress(OSError):
        found.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_closing_on_a_full_disk_does_not_hide_that_line(tmp_path):
    found = _on_a_full_disk(tmp_path)
    with contextlib.suppress(errors.UserError):
        found.write(1, {"loss": 1.0})
    with contextlib.suppress(errors.UserError):
        found.close()


def test_a_folder_that_is_none_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match=r"cannot write .*metrics.jsonl"):
        writer.Writer(tmp_path / "file")


def test_silent_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = writer.Silent()
    found.write(1, {"loss": 1.0})
    found.flush()
    found.close()
    assert list(tmp_path.iterdir()) == []
