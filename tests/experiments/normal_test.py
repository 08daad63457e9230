"""Scorers of runs whose model is made up: it halves an example, and its code is the first two."""

import dataclasses
import types

from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments import build
from experiments.detection import findings, normal
from experiments.figures import anomalies, heat_map
from experiments.tables import anomalies as tables_of_anomalies, one_class
from sae_jax import errors
from sae_jax.analysis import novelty
from sae_jax.data import base

RNG = np.random.RandomState(0)


class Halving:
    def encoded(self, state, data, batch_size=1000):
        assert state == "the state"
        x = data.x / np.float32(data.scale if data.x.dtype == np.uint8 else 1)
        return x[:, :2], x / 2


def _data(rows, label=None, split="train", brightest=100, grid=(2, 4, 1)):
    x = RNG.randint(0, brightest, (rows, 8)).astype(np.uint8)
    return base.Arrays(base.Spec("made up", split, (8,), grid), x, label)


def _run(**evaluations):
    """A run trained on label 0, and what it is evaluated on."""
    task = types.SimpleNamespace(
        data=_data(100, np.zeros(100, int)),
        evaluations={
            name: types.SimpleNamespace(data=data, metrics={}) for name, data in evaluations.items()
        },
    )
    return types.SimpleNamespace(
        task=task, state="the state", evaluator=Halving(), spec=task.data.spec
    )


def _test_data(brighter=150):
    """50 normal examples, dark, and 10 anomalies, bright, in turns of six."""
    label = (np.arange(60) % 6 == 5).astype(int)
    data = _data(60, label, "test")
    data.x[label == 1] += brighter
    return data


def _fit(run, group=None, calibration=""):
    return normal.fit(run.task, run.state, run.evaluator, group, calibration)


def test_one_half_of_the_held_out_examples_gives_units_and_the_other_thresholds():
    run = _run(valid=_data(41, split="valid"))
    known = _fit(run)
    valid = known.encode(run.task.evaluations["valid"].data)
    assert known.source == "41 examples of valid"
    expected = novelty.fit(known.encode(run.task.data), valid[::2])(valid[1::2])
    assert len(known.scores["both"]) == 20
    for kind in novelty.KINDS:
        np.testing.assert_array_equal(known.scores[kind], expected[kind])
    residual = np.sort(((valid.x[1::2] / 2) ** 2).sum(axis=1))
    assert known.threshold("residual", 0.1) == pytest.approx(residual[18])


def test_without_held_out_examples_the_last_tenth_of_the_training_data_stands_in_and_is_named():
    run = _run()
    known = _fit(run)
    assert "last 10 training examples, which the model has seen" in known.source
    last = known.encode(normal.rows(run.task.data, slice(90, None)))
    np.testing.assert_allclose(
        known.scores["residual"], ((last.x[1::2] / 2) ** 2).sum(axis=1), rtol=1e-5
    )
    # Codes are compared with those of others: none of them is its own neighbour.
    assert known.scorer.nearest.n_samples_fit_ == 90


def test_another_split_may_be_named(monkeypatch):
    monkeypatch.setattr(build, "data", lambda group: _data(30, split=group["split"]))
    known = _fit(_run(), {"name": "made up", "split": "train"}, "other")
    assert known.source == "30 examples of other"


def test_anomalies_are_labels_that_were_never_trained_on():
    run = _run(valid=_data(41, np.zeros(41, int)), test=_test_data())
    data, anomalous = normal.judged(run.task)
    assert data.spec.split == "test"
    np.testing.assert_array_equal(anomalous, data.label == 1)
    assert normal.judged(_run(valid=_data(41, np.zeros(41, int))).task) is None
    assert normal.judged(_run(test=_data(60)).task) is None


def test_pictures_of_a_run_with_anomalies():
    run = _run(valid=_data(301, np.zeros(301, int)), test=_test_data())
    rows = anomalies.rows(run)
    assert rows["separation"]["residual"]["auroc"] == 1
    assert (rows["scores"]["both"] > rows["threshold"]).sum() >= 10
    rows_of_map = heat_map.rows(run)
    shown = rows_of_map["groups"]["anomalies"].encoded
    place = [5, 11, 23, 35, 47, 59]
    np.testing.assert_allclose(shown.x, run.task.evaluations["test"].data.x[place] / 255, rtol=1e-6)
    assert rows_of_map["groups"]["normal"].encoded.x.max() < 0.4
    for module, found in ((anomalies, rows), (heat_map, rows_of_map)):
        figure = Figure(figsize=module.SIZE, layout="constrained")
        module.draw(found, figure)
        figure.canvas.draw()
    sheets = [axis.images[0].get_array() for axis in figure.axes]
    assert [sheet.shape for sheet in sheets] == [(3 * 4, 6 * 6, 3)] * 2
    # Where the input is brighter than its reconstruction, the residual is red.
    assert (sheets[1][9:11, 1:5, 0] > sheets[1][9:11, 1:5, 2]).all()
    for module in (anomalies, heat_map):
        assert module.rows(_run(test=_data(60))) is None


def _findings(names=None, image=True):
    known = _fit(_run(valid=_data(301)))
    data = _test_data()
    encoded = known.encode(data)
    scores = known.scorer(encoded)
    spec = data.spec if image else base.Spec("made up", "test", (8,))
    flagged = scores["both"] > known.threshold("both", 0.05)
    return findings.Findings(spec, encoded, scores, "both", flagged, names, data.label == 1)


def test_findings_are_written_whole(tmp_path):
    names = [f"{row}.png" for row in range(60)]
    found = _findings(names)
    assert [path.name for path in found.write(tmp_path / "out")] == ["scores.csv", "worst.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scores.csv", "worst.png"]
    lines = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert lines[0] == "row,file,residual,latent,both,flagged"
    assert len(lines) == 61
    row, file, residual, _, both, flagged = lines[12].split(",")
    assert (row, file, flagged) == ("11", "11.png", "1")
    assert float(residual) == pytest.approx(found.scores["residual"][11], rel=1e-6)
    assert float(both) == pytest.approx(found.scores["both"][11], rel=1e-6)
    assert [p.name for p in _findings(image=False).write(tmp_path / "table")] == ["scores.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match="file/out .*--out"):
        _findings().write(tmp_path / "file" / "out")


def test_the_worst_rows_are_shown_first_and_counts_are_right():
    found = _findings()
    rows = [line.split() for line in found.table().splitlines()]
    assert rows[0] == ["row", "residual", "latent", "both"]
    assert {int(row[0]) for row in rows[1:]} == set(range(5, 60, 6))
    assert [float(row[3]) for row in rows[1:]] == sorted(float(r[3]) for r in rows[1:])[::-1]
    assert all(row[4] == "flagged" for row in rows[1:])
    text = found.separation()
    false = found.flagged[found.anomalous == 0].mean()
    assert text.startswith(
        f"of 10 anomalies 100 % are flagged, of 50 normal examples {100 * false:.3g} %"
    )
    assert "residual      100.00  100.00" in text


@pytest.mark.parametrize("kind", novelty.KINDS)
def test_tables_score_a_run_by_the_kind_that_the_row_names(kind):
    data = _test_data(brighter=15)
    run = _run(valid=_data(301, np.zeros(301, int)), test=data)
    known = _fit(run)
    scores = {
        kind: novelty.separation(score, data.label == 1)
        for kind, score in known.scorer(known.encode(data)).items()
    }
    assert len({score["auroc"] for score in scores.values()}) == 3
    expected = {name: 100 * number for name, number in scores[kind].items()}
    rows = {row.label: row for row in (*one_class.ROWS, *tables_of_anomalies.ROWS)}
    row = rows[f"denoising autoencoder, {kind}"]
    part = dataclasses.replace(row, overrides=row.parts[3], parts=())
    assert one_class.measure(part, 0, run) == pytest.approx({"3": expected["auroc"]})
    row = rows[f"cells: autoencoder, {kind}"]
    assert tables_of_anomalies.measure(row, 0, run) == pytest.approx(expected)


def test_the_numbers_of_all_digits_are_joined_and_averaged():
    found = [{"3": 100.0}, {"4": 80.0}]
    assert one_class.join(found) == {"3": 100.0, "4": 80.0, "mean": 90.0}


def test_baselines_of_tables_see_normal_examples_only(monkeypatch):
    def data(group):
        if group["split"] == "test":
            return _test_data()
        assert group["split"] == "train"
        return _data(100, np.zeros(100, int))

    monkeypatch.setattr(build, "data", data)
    for row in tables_of_anomalies.ROWS:
        if not row.config and "shuttle" in row.label:
            known = tables_of_anomalies.measure(row, 0, None)["auroc"]
            assert known > 99 or "random" in row.label
