"""Pictures of many runs: what is one point, in which order, and what is missing."""

import json

from matplotlib import figure as mpl_figure
import pytest

from experiments import comparisons
from sae_jax import errors


def _run(folder, seed, k, **results):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"seed": seed, "model": {"k": k}}))
    found = {f"test/{metric}": value for metric, value in results.items()}
    (folder / "results.json").write_text(json.dumps(found))


@pytest.fixture
def sweep(tmp_path):
    _run(tmp_path / "a" / "1", 0, 8, l0=8.5, fvu=0.2, mcc=0.8, c_dec=0.1)
    _run(tmp_path / "a" / "2", 1, 8, l0=7.5, fvu=0.4, mcc=0.6, c_dec=0.3)
    _run(tmp_path / "a" / "3", 0, 4, l0=4.0, fvu=0.5, mcc=0.5, c_dec=0.2)
    _run(tmp_path / "b" / "1", 0, 4, l0=3.0, fvu=0.6)
    (tmp_path / "a" / "unfinished").mkdir()
    return tmp_path


def test_seeds_are_one_point_and_points_go_by_their_l0(sweep):
    series = comparisons.load(sweep / "a", "test")
    assert series.name == "a"
    assert [point["l0"].mean for point in series.points] == [4.0, 8.0]
    assert series.points[1]["fvu"] == pytest.approx((0.3, 0.02**0.5, 2))
    assert series.points[0]["fvu"] == (0.5, None, 1)


def test_a_picture_has_a_line_for_each_folder_that_has_the_metric(sweep):
    series = [comparisons.load(sweep / name, "test") for name in ("a", "b")]
    axis = mpl_figure.Figure().subplots()
    comparisons.plot(axis, series, "mcc", "MCC")
    assert [line.get_label() for line in axis.containers] == ["a"]


@pytest.mark.parametrize("name", comparisons.names())
def test_every_picture_is_drawn(name, sweep, tmp_path):
    comparisons.draw(name, [sweep / "a"], "test", tmp_path / "new" / "it.png")
    assert (tmp_path / "new" / "it.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("name", "folder", "evaluation", "said"),
    [
        ("frontiers", "a", "test", "there are frontier, recovery"),
        ("frontier", "a/unfinished", "test", "holds no finished run"),
        ("frontier", "a", "valid", "have no valid/l0: choose --evaluation"),
        ("recovery", "b", "test", "none of the runs was evaluated by mcc"),
    ],
)
def test_what_is_missing_is_told(name, folder, evaluation, said, sweep, tmp_path):
    with pytest.raises(errors.UserError, match=said):
        comparisons.draw(name, [sweep / folder], evaluation, tmp_path / "it.png")
    assert not (tmp_path / "it.png").exists()
