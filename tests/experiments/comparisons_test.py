"""Pictures of many runs: what is one point, in which order, and what is missing."""

import functools
import json
import types

import jax
import jax.numpy as jnp
from matplotlib import figure as mpl_figure
import numpy as np
import pytest

from experiments import comparisons
from experiments.comparisons import stability
from sae_jax import errors
from sae_jax.models import base
from tests import variants


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


@pytest.fixture
def two_runs(monkeypatch):
    """Runs 1 and 2 have rows in another order, one of them of the other sign, one of their own."""
    rows = {
        "1": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
        "2": [[0, 0, 0, 1], [2, 0, 0, 0], [0, -3, 0, 0]],
    }

    def weights_of(folder):
        w_dec = np.asarray(rows[folder.name], float)
        # By its encoder too, the first row is alike; the second is not.
        return [w_dec, w_dec + [[0, 0, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0]]]

    monkeypatch.setattr(stability, "weights_of", weights_of)


def test_seeds_are_one_point_and_points_go_by_their_l0(sweep):
    series = comparisons.load(sweep / "a", "test")
    assert series.name == "a"
    assert [point["l0"].mean for point in series.points] == [4.0, 8.0]
    assert series.points[1]["fvu"] == pytest.approx((0.3, 0.02**0.5, 2))
    assert series.points[0]["fvu"] == (0.5, None, 1)
    assert series.folders == [[sweep / "a" / "3"], [sweep / "a" / "1", sweep / "a" / "2"]]


def test_a_picture_has_a_line_for_each_folder_that_has_the_metric(sweep):
    series = [comparisons.load(sweep / name, "test") for name in ("a", "b")]
    axis = mpl_figure.Figure().subplots()
    comparisons.plot(axis, series, "mcc", "MCC")
    assert [line.get_label() for line in axis.containers] == ["a"]


@pytest.mark.parametrize("name", comparisons.names())
@pytest.mark.usefixtures("two_runs")
def test_every_picture_is_drawn(name, sweep, tmp_path):
    comparisons.draw(name, [sweep / "a"], "test", tmp_path / "new" / "it.png")
    assert (tmp_path / "new" / "it.png").stat().st_size > 5000


@pytest.mark.usefixtures("two_runs")
def test_latents_of_two_seeds_are_shared_if_decoder_and_encoder_say_so(sweep):
    figure = mpl_figure.Figure()
    said = stability.draw([comparisons.load(sweep / "a", "test")], figure).splitlines()
    assert said[0] == "a, L0 8: MCC 0.667, shared 0.333 in 1 pair"
    assert said[1].startswith("chance, 3 x 4: MCC 0.")
    (axis,) = figure.axes
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [1, 1, 0])
    assert [line.get_label() for line in axis.lines[:2]] == ["a, L0 8", "chance, 3 x 4"]


def test_rows_are_those_that_a_model_decodes_with(monkeypatch, tmp_path):
    def loaded(variant, folder):
        model = variants.model(variant, "relu" if variant != "matching_pursuit" else None)
        init = jax.jit(functools.partial(base.init, model))
        params, stats = init(jax.random.key(0), jnp.ones((16, variants.D_IN)))
        method = types.SimpleNamespace(model=model)
        state = types.SimpleNamespace(params=params, stats=stats)
        return types.SimpleNamespace(method=method), state

    found = {}
    for variant in ("archetypal", "matching_pursuit", "clt"):
        monkeypatch.setattr(stability.run, "load", functools.partial(loaded, variant))
        if variant == "clt":
            with pytest.raises(errors.UserError, match="no w_dec whose rows could be compared"):
                stability.weights_of(tmp_path)
            continue
        found[variant] = [rows.shape for rows in stability.weights_of(tmp_path)]
    assert found == {"archetypal": [(32, 8)] * 2, "matching_pursuit": [(32, 8)]}


@pytest.mark.parametrize(
    ("name", "folder", "evaluation", "said"),
    [
        ("frontiers", "a", "test", "there are frontier, recovery, stability"),
        ("frontier", "a/unfinished", "test", "holds no finished run"),
        ("frontier", "a", "valid", "have no valid/l0: choose --evaluation"),
        ("recovery", "b", "test", "none of the runs was evaluated by mcc"),
        ("stability", "b", "test", "no two runs in b differ in their seed alone"),
    ],
)
def test_what_is_missing_is_told(name, folder, evaluation, said, sweep, tmp_path):
    with pytest.raises(errors.UserError, match=said):
        comparisons.draw(name, [sweep / folder], evaluation, tmp_path / "it.png")
    assert not (tmp_path / "it.png").exists()
