"""The tables of worlds whose features are known: what is computed beside the runs."""

from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments import figures, tables
from experiments.figures import geometry
from experiments.tables import ksvd, sanity_checks, sparse_but_wrong, superposition, tree
from sae_jax import spread
from sae_jax.data import ksvd as world
from sae_jax.ops import dictionaries


def _columns(*degrees, norm=1.0):
    angles = np.radians(degrees)
    return norm * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_gaps_are_between_neighbours_and_short_columns_do_not_count():
    pentagon = np.append(_columns(10, 82, 154, 226, 298, norm=1.1), [[0.1, 0.1]], axis=0)
    found = superposition.geometry(pentagon)
    assert found == pytest.approx({"features": 5, "least": 72, "largest": 72, "norm": 1.1})
    found = superposition.geometry(_columns(170, 260))
    assert (found["least"], found["largest"]) == (pytest.approx(90), pytest.approx(270))
    assert superposition.geometry(_columns(3)) == {"features": 1}


def test_importance_falls_and_the_best_instance_counts():
    x, x_hat = np.zeros((2, 3)), np.asarray([[1.0, 0, 0], [0, 0, 2]])
    assert superposition.loss(x, x_hat) == pytest.approx((1 + 0.81 * 4) / 2)
    assert superposition.join([{"loss": 2, "features": 5}, {"loss": 1, "features": 4}]) == {
        "loss": 1,
        "features": 4,
    }


def test_two_features_alone_leave_the_variance_of_the_others():
    found = superposition.measure(superposition.ROWS[0], 0, None)
    variance = 0.05 / 3 - (0.05 / 2) ** 2
    assert found["loss"] == pytest.approx((0.81 + 0.729 + 0.6561) * variance, rel=0.02)


def test_arrows_are_drawn_of_two_latents_alone():
    def rows(*shape):
        run = object.__new__(figures.Run)
        object.__setattr__(run, "params", {"w_dec": np.ones(shape)})
        return geometry.rows(run)

    assert rows(3, 5) is None
    assert rows(2, 784) is None
    assert rows(2, 3, 3) is None
    found = rows(2, 5)
    assert found["columns"].shape == (5, 2)
    figure = Figure()
    geometry.draw(found, figure)
    assert len(figure.axes[0].texts) == 10


def test_a_dictionary_that_absorbs_has_parents_in_children():
    found = tree.measure(tree.ROWS[1], 0, None)
    assert found["l0"] == pytest.approx(3 * 0.15 + 8 * 0.05)
    rows = tree.absorbed(np.eye(20))
    np.testing.assert_array_equal(rows[5], np.eye(20)[5] + np.eye(20)[4])
    np.testing.assert_array_equal(rows[12:], np.eye(20)[12:])
    assert found["mcc"] == pytest.approx((11 + 9 * 0.5**0.5) / 20, abs=0.01)


def _measured(module, label, seed=0):
    (row,) = (row for row in module.ROWS if row.label == label)
    return module.measure(row, seed, None)


def test_random_directions_recover_nothing():
    found = _measured(sanity_checks, "random directions")
    assert found["recovered"] == 0
    assert 0.2 < found["mcc"] < 0.4


def test_components_of_features_that_are_all_alike_explain_their_share(monkeypatch):
    monkeypatch.setattr(sanity_checks, "_EXAMPLES", 2000)
    found = _measured(sanity_checks, "PCA, 20 components")
    assert 0.2 < found["explained"] < 0.3  # Of 100 directions that vary as much as each other.
    assert (found["l0"], found["recovered"]) == (20, 0)


def test_a_pentagon_is_fitted_to_what_the_paper_found():
    found = _measured(superposition, "regular pentagon, p = 0.05")
    assert found["loss"] < _measured(superposition, "two features, p = 0.05")["loss"] / 3
    assert (found["features"], found["least"]) == (5, pytest.approx(72))
    assert found["norm"] == pytest.approx(1.13, abs=0.02)


def test_baselines_of_a_tree_see_little_of_parents(monkeypatch):
    monkeypatch.setattr(tree, "_EXAMPLES", 4000)
    random = _measured(tree, "random directions", seed=1)
    assert random.keys() == tree.COLUMNS.keys()
    assert random["l0"] == pytest.approx(1, abs=0.01)
    assert random["parent_recall"] < 0.3
    component = _measured(tree, "PCA, 1 component")
    assert component["l0"] == 1
    assert 1 - 2 / 20 > component["fvu"] > 0.8


def test_the_true_features_of_sparse_but_wrong_leave_nothing(monkeypatch):
    monkeypatch.setattr(sparse_but_wrong, "_EXAMPLES", 4000)
    found = _measured(sparse_but_wrong, "true features")
    assert found == pytest.approx({"mse": 0, "c_dec": 0, "mcc": 1, "f1": 1}, abs=1e-5)
    components = _measured(sparse_but_wrong, "PCA, 11 components")
    assert 4 < components["mse"] < 6
    assert components["c_dec"] == pytest.approx(0, abs=1e-5)


def test_atoms_are_found_where_they_are_known_and_not_by_components():
    assert _measured(ksvd, "true atoms") == pytest.approx({"atoms": 50, "mcc": 1})
    assert _measured(ksvd, "PCA, 20 components")["atoms"] == 0


def test_ksvd_finds_what_signals_are_made_of(monkeypatch):
    """Ten atoms in eight dimensions, two a signal, little noise, a start that is not stuck."""
    monkeypatch.setattr(world, "N_FEATURES", 10)
    monkeypatch.setattr(world, "ACTIVE", 2)
    rng = np.random.RandomState(3)
    atoms = dictionaries.unit(rng.standard_normal((10, 8)))
    codes = np.stack([rng.permutation([*rng.standard_normal(2), *[0] * 8]) for _ in range(400)])
    x = codes @ atoms + 0.01 * rng.standard_normal((400, 8))
    found = ksvd.by_ksvd(x, seed=0, rounds=20)
    assert dictionaries.atoms_recovered(found, atoms) == 10
    assert dictionaries.atoms_recovered(ksvd.at_random(x, 0), atoms) == 0


def test_atoms_that_do_nothing_are_replaced_by_signals():
    atoms = np.asarray([[1.0, 0, 0], [1, 0.01, 0], [0, 1, 0]])
    codes = np.asarray([[1.0, 1, 1]] * 4 + [[0, 0, 0]])
    x = np.asarray([[2.0, 1.01, 0]] * 4 + [[0, 0, 5.0]])
    ksvd._replace_useless(atoms, codes, x)
    np.testing.assert_allclose(atoms[0], [0, 0, 1])
    np.testing.assert_allclose(atoms[2], [0, 1, 0])


def test_sparse_but_wrong_is_drawn_against_k():
    stats = {c: spread.Stat(1.0, 0.1, 3) for c in sparse_but_wrong.COLUMNS}
    lines = [tables.Line(row, stats) for row in sparse_but_wrong.ROWS]
    figure = Figure()
    sparse_but_wrong.draw(lines, figure)
    (line,) = (part for part in figure.axes[2].lines if part.get_marker() == ".")
    np.testing.assert_array_equal(line.get_xdata(), [5, 7, 9, 11, 13, 15, 18])


@pytest.mark.parametrize("module", [ksvd, sanity_checks, superposition, tree])
def test_tables_are_drawn(module):
    column = {ksvd: "atoms", sanity_checks: "recovered", superposition: "features"}.get(
        module, "parent_recall"
    )
    lines = [tables.Line(row, {column: spread.Stat(1.0, 0.1, 3)}) for row in module.ROWS]
    figure = Figure()
    module.draw(lines, figure)
    assert len(figure.axes[0].get_yticklabels()) == len(module.ROWS)
