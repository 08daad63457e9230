import dataclasses
import json
import math
import sys

import pytest

from benchmarks import check, records
from sae_jax import errors

RECORD = records.Record(
    script="benchmarks.sae_step",
    arguments=["--variants=topk"],
    date="2026-11-22",
    machine="2 cores",
    device="cpu",
    versions={"jax": "0.10"},
    ratios={"topk/five / ours": 0.8, "topk/sae_lens / ours": 4.0},
    numbers={"topk/ours, seconds a step": 0.5},
)


def _fresh(**ratios):
    changed = {"topk/five / ours": 0.8, "topk/sae_lens / ours": 4.0} | ratios
    return dataclasses.replace(RECORD, ratios=changed)


@pytest.mark.parametrize("now", [0.61, 0.8, 2.0])
def test_small_falls_and_rises_pass(now):
    assert check.verdicts(RECORD, _fresh(**{"topk/five / ours": now})) == []


@pytest.mark.parametrize("now", [0.59, 0.0, math.nan])
def test_a_fall_by_more_than_a_quarter_is_a_line(now):
    lines = check.verdicts(RECORD, _fresh(**{"topk/five / ours": now}))
    assert len(lines) == 1
    assert lines[0].startswith("benchmarks.sae_step: topk/five / ours fell from 0.8 to ")


def test_what_is_not_measured_any_more_is_a_line():
    fresh = dataclasses.replace(RECORD, ratios={"topk/five / ours": 0.8})
    assert check.verdicts(RECORD, fresh) == [
        "benchmarks.sae_step: topk/sae_lens / ours was 4 and is not measured any more"
    ]


def test_the_same_measurement_is_found_by_its_arguments():
    other = dataclasses.replace(RECORD, arguments=["--variants=relu"])
    assert check.same(RECORD, [other, RECORD]) is RECORD
    with pytest.raises(errors.UserError, match="python -m benchmarks.sae_step --variants=topk"):
        check.same(RECORD, [other])


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "results" / "one.json"
    records.write(path, RECORD)
    assert records.read(path) == RECORD
    path.write_text(json.dumps({"script": "benchmarks.mnist"}))
    with pytest.raises(errors.UserError, match="holds no record"):
        records.read(path)


def test_a_record_names_no_place(monkeypatch):
    words = ["x", "--rounds=2", "--peers=/some/where", "--out=/some/file"]
    monkeypatch.setattr(sys, "argv", words)
    made = records.make("benchmarks.x", {"a": 1 / 3}, {}, {})
    assert made.arguments == ["--rounds=2"]
    assert made.ratios == {"a": 0.3333}


@pytest.mark.parametrize(("now", "status"), [(0.7, 0), (0.3, 1)])
def test_the_program(program, tmp_path, now, status):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    records.write(old, RECORD)
    records.write(new, _fresh(**{"topk/five / ours": now}))
    ran = program("benchmarks.check", f"--records={old}", f"--fresh={new}")
    assert ran.returncode == status, ran.stderr
    assert ("fell from 0.8 to 0.3" in ran.stdout) == bool(status)
