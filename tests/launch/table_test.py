import csv
import io
import json
import math

import pytest

from launch import table, trials
from sae_jax import errors, spread


def _trial(folder, overrides, results=None, done=True):
    trial = trials.Trial(trials.name(overrides), overrides, folder / trials.name(overrides), ())
    trial.workdir.mkdir(parents=True)
    if results is not None:
        (trial.workdir / "results.json").write_text(json.dumps(results))
    if done:
        (trial.workdir / "DONE").touch()
    return trial


def test_rows_are_the_finished_trials(tmp_path):
    made = [
        _trial(tmp_path, {"l1": 0.1, "seed": 0}, {"test/fvu": 0.5, "test/l0": 10}),
        _trial(tmp_path, {"l1": 0.1, "seed": 1}, {"test/fvu": 0.7}, done=False),
        _trial(tmp_path, {"l1": 0.3, "seed": 0}, {"test/fvu": None, "test/l0": 3}),
        _trial(tmp_path, {"l1": 0.3, "seed": 1}, {}),
    ]
    assert table.rows(made) == [
        {"l1": 0.1, "seed": 0, "test/fvu": 0.5, "test/l0": 10.0},
        {"l1": 0.3, "seed": 0, "test/l0": 3.0},
        {"l1": 0.3, "seed": 1},
    ]


@pytest.mark.parametrize("content", ["{", "[1]", '{"test/fvu": "low"}', '{"test/fvu": {}}'])
def test_unreadable_results_are_named(tmp_path, content):
    trial = _trial(tmp_path, {"seed": 0})
    (trial.workdir / "results.json").write_text(content)
    with pytest.raises(errors.UserError, match=r"seed=0/results.json is no flat dict.*delete DONE"):
        table.rows([trial])


def test_a_finished_run_without_results_is_named(tmp_path):
    made = [_trial(tmp_path, {"seed": 0}, {"test/fvu": 0.5}), _trial(tmp_path, {"seed": 1})]
    with pytest.raises(errors.UserError, match=r"seed=1 is marked DONE, .*delete .*seed=1/DONE"):
        table.rows(made)


def test_summary_is_mean_and_sample_deviation_over_seeds():
    rows = [
        {"k": 4, "seed": 0, "test/fvu": 1.0, "test/l0": 5.0},
        {"k": 8, "seed": 0, "test/fvu": 7.0},
        {"k": 4, "seed": 1, "test/fvu": 2.0},
        {"k": 4, "seed": 2, "test/fvu": 6.0},
    ]
    first, second = table.summary(rows)
    assert first["k"] == 4
    assert first["n"] == 3
    assert first["test/fvu"].mean == pytest.approx(3.0)
    assert first["test/fvu"].sd == pytest.approx(math.sqrt(7.0))
    assert first["test/fvu"].n == 3
    assert first["test/l0"] == spread.Stat(5.0, None, 1)
    assert second == {"k": 8, "n": 1, "test/fvu": spread.Stat(7.0, None, 1)}


def test_markdown_has_four_digits_and_shows_what_is_missing():
    rows = [
        {"loss.l1": 0.1, "seed": 0, "test/fvu": 0.123456, "test/l0": 5.0},
        {"loss.l1": 0.1, "seed": 1, "test/fvu": 0.124456},
        {"t": ("a|b", 1), "seed": 0, "test/l0": 123456.0},
    ]
    assert table.markdown(table.summary(rows)) == (
        "| loss.l1 | t          | n   | test/fvu          | test/l0   |\n"
        "| ------- | ---------- | --- | ----------------- | --------- |\n"
        "| 0.1     | -          | 2   | 0.124 ± 0.0007071 | 5 (n=1)   |\n"
        "| -       | ('a\\|b',1) | 1   | -                 | 1.235e+05 |\n"
    )


def test_numbers_that_are_not_finite_are_shown():
    nan, inf = float("nan"), float("inf")
    rows = [
        {"seed": 0, "a/x": nan, "a/y": inf, "a/z": inf},
        {"seed": 1, "a/x": 1.0, "a/y": 1.0, "a/z": -inf},
    ]
    assert table.markdown(table.summary(rows)).splitlines()[2] == "| 2   | nan | inf | nan |"
    assert table.csv(rows).splitlines()[1:] == ["0,nan,inf,inf", "1,1.0,1.0,-inf"]


def test_csv_is_exact_and_has_settings_first():
    rows = [{"k": 4, "test/fvu": 0.1 + 0.2}, {"lr": 0.5, "betas": (0.9, 0.99), "test/fvu": 1.0}]
    lines = list(csv.reader(io.StringIO(table.csv(rows))))
    assert lines == [
        ["k", "lr", "betas", "test/fvu"],
        ["4", "", "", "0.30000000000000004"],
        ["", "0.5", "(0.9,0.99)", "1.0"],
    ]


def test_publish_writes_the_tables_of_each_sweep(tmp_path):
    made = [
        _trial(tmp_path / "a", {"seed": 0}, {"test/fvu": 0.5}),
        _trial(tmp_path / "b", {"seed": 0}, {"test/fvu": 0.25}),
        _trial(tmp_path / "c", {"seed": 0}, done=False),
    ]
    shown = table.publish(made)
    assert (tmp_path / "a" / "table.md").read_text() in shown
    assert (tmp_path / "b" / "table.csv").read_text() == "seed,test/fvu\n0,0.25\n"
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["seed=0", "table.csv", "table.md"]
    assert not (tmp_path / "c" / "table.md").exists()
    assert str(tmp_path / "c") not in shown
