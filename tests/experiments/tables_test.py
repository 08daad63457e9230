"""The machinery of tables, on a small one: what is trained once, measured once, and written."""

import dataclasses
import json
import types

import pytest

from experiments import tables
from sae_jax import errors

DEBUG = "configs/linear_mnist.py:debug"


@pytest.fixture
def small(monkeypatch):
    """A table of a trained row and a baseline; counts what is measured."""
    measured = []

    def measure(row, seed, run):
        measured.append((row.label, seed))
        return {"fvu": run.results["test/fvu"] if run is not None else 1.0}

    module = types.ModuleType("small", "What it is.")
    module.TITLE, module.COLUMNS, module.SIZE = "A small table", {"fvu": "FVU"}, (4, 3)
    module.ROWS = (
        tables.Row("trained", DEBUG, {"model.d_sae": 5}, (0, 1), {"fvu": 0.5}, "Someone 2000"),
        tables.Row("a | b/c", seeds=(0,)),
    )
    module.measure = measure
    module.draw = lambda lines, figure: tables.draw_bars(lines, "fvu", "FVU", figure)
    module.measured = measured
    monkeypatch.setattr(tables, "find", lambda name: module)
    return module


def test_what_is_missing_is_trained_and_measured_once(small, tmp_path, capfd):
    folder = tables.make("small", tmp_path)
    assert folder == tmp_path / "small"
    assert small.measured == [("trained", 0), ("trained", 1), ("a | b/c", 0)]
    table = json.loads((folder / "table.json").read_text())
    runs = [
        json.loads((path / "results.json").read_text())["test/fvu"]
        for path in sorted((tmp_path / "runs" / "linear_mnist-debug,model.d_sae=5").iterdir())
    ]
    stat = table[0]["measured"]["fvu"]
    assert stat["n"] == len(runs) == 2
    assert stat["mean"] == pytest.approx(sum(runs) / 2)
    assert stat["sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2**0.5)
    text = (folder / "table.md").read_text()
    assert "What it is." in text
    assert "| 0.5 | Someone 2000 |" in text
    assert (folder / "table.png").stat().st_size > 1000
    assert capfd.readouterr().out.count("training trained") == 2

    tables.make("small", tmp_path)
    assert len(small.measured) == 3
    assert "training" not in capfd.readouterr().out
    (tmp_path / "small" / "measured" / "a_b_c-0.json").unlink()
    tables.make("small", tmp_path, seeds=1)
    assert small.measured[3:] == [("a | b/c", 0)]

    config = tmp_path / "runs" / "linear_mnist-debug,model.d_sae=5" / "seed-0" / "config.json"
    config.write_text(config.read_text().replace('"num_steps": 6', '"num_steps": 7'))
    with pytest.raises(errors.UserError, match="another config: delete that folder"):
        tables.make("small", tmp_path)


def test_without_training_there_is_what_has_been_measured(small, tmp_path, capfd):
    with pytest.raises(errors.UserError, match="nothing of small has been measured"):
        tables.make("small", tmp_path, train=False)
    row = small.ROWS[0]
    small.ROWS = (dataclasses.replace(row, seeds=(1,)), small.ROWS[1])
    tables.make("small", tmp_path)
    other = dataclasses.replace(row, label="other", overrides={"model.d_sae": 4})
    small.ROWS = (row, small.ROWS[1], other)
    capfd.readouterr()
    folder = tables.make("small", tmp_path, train=False)
    assert "training" not in capfd.readouterr().out
    assert small.measured == [("trained", 1), ("a | b/c", 0)]
    table = json.loads((folder / "table.json").read_text())
    assert [each["label"] for each in table] == ["trained", "a | b/c"]
    assert table[0]["measured"]["fvu"]["n"] == 1
    assert (folder / "table.md").read_text().endswith("\nNot measured yet: other.\n")


def test_a_run_that_fails_ends_the_table(small, tmp_path):
    small.ROWS = (tables.Row("bad", DEBUG, {"num_steps": 0}),)
    with pytest.raises(errors.UserError, match="status 2"):
        tables.make("small", tmp_path)


def test_the_parts_of_a_row_are_measured_each_for_itself_and_joined(small, tmp_path):
    parts = tuple({"data.digit": digit} for digit in (3, 5))

    def measure(row, seed, run):
        assert run is None
        small.measured.append((dict(row.overrides), seed))
        return {str(row.overrides["data.digit"]): 10.0 * row.overrides["data.digit"] + seed}

    def join(found):
        assert found[0].keys() == {"3"}
        return found[0] | found[1] | {"mean": (found[0]["3"] + found[1]["5"]) / 2}

    small.COLUMNS = {"3": "3", "5": "5", "mean": "mean"}
    small.ROWS = (tables.Row("all", overrides={"a": 1}, seeds=(0, 4), parts=parts),)
    small.measure, small.join = measure, join
    small.draw = lambda lines, figure: None
    table = json.loads((tables.make("small", tmp_path) / "table.json").read_text())
    assert table[0]["measured"]["5"] == {"mean": 52.0, "sd": pytest.approx(8**0.5), "n": 2}
    assert table[0]["measured"]["mean"]["mean"] == 42.0
    tables.make("small", tmp_path)
    assert small.measured == [({"a": 1, "data.digit": d}, s) for s in (0, 4) for d in (3, 5)]


def test_the_instances_of_a_row_have_seeds_of_their_own_and_are_joined(small, tmp_path):
    def measure(row, seed, run):
        small.measured.append(seed)
        return {"loss": 10.0 - seed}

    small.COLUMNS = {"loss": "loss"}
    small.ROWS = (tables.Row("best of three", seeds=(0, 1), instances=3),)
    small.measure = measure
    small.join = lambda found: min(found, key=lambda numbers: numbers["loss"])
    small.draw = lambda lines, figure: None
    table = json.loads((tables.make("small", tmp_path) / "table.json").read_text())
    assert small.measured == [0, 1, 2, 3, 4, 5]
    assert table[0]["measured"]["loss"]["mean"] == (8 + 5) / 2
