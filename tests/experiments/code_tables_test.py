"""The tables that probe codes, on a few examples and on models that were trained for no step."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build, tables
from experiments.tables import baselines, k_sparse, reduction, wta
from sae_jax.analysis import probe
from sae_jax.data import base
from sae_jax.train import loop


def _data(name, split, side=6):
    """Three kinds of noisy pictures with their kinds."""
    rng = np.random.RandomState(0 if split == "train" else 1)
    rows = 240 if split == "train" else 60
    label = rng.randint(0, 3, rows)
    means = np.random.RandomState(2).randint(0, 200, (3, side * side))
    x = np.clip(means[label] + 20 * rng.randn(rows, side * side), 0, 255).astype(np.uint8)
    return base.from_splits(name, split, {split: (x, label)}, (side, side, 1))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """A few examples in place of every data set, and a validation split that they can spare."""
    for module in (k_sparse, wta):
        monkeypatch.setattr(module.mnist, "load", lambda split: _data("mnist", split))
        monkeypatch.setattr(module, "_VALIDATION", 60)
    monkeypatch.setattr(build, "data", lambda group: _data(group["name"], group["split"]))


def _untrained(row, folder, **overrides):
    """A run at the end of its schedules, whose parameters are those of its start."""
    config = tables._config(row, 0)
    config.update_from_flattened_dict({"batch_size": 24, **overrides})
    for group in config.evals.values():
        group.batch_size = 24
    task = build.task(config)
    state = loop.initialise(task, loop.template(task))
    (folder / "results.json").write_text(json.dumps({"test/fvu": 0.25}))
    last = jnp.asarray(config.num_steps, jnp.int32)
    return tables.Run(folder, task, dataclasses.replace(state, step=last))


def _row(module, label):
    return next(row for row in module.ROWS if row.label == label)


def _baselines():
    return [
        (module, row.label)
        for module in (k_sparse, wta, reduction)
        for row in module.ROWS
        if not row.config
    ]


@pytest.mark.parametrize(("module", "label"), _baselines())
def test_baselines_tell_classes_that_are_far_apart(module, label, monkeypatch):
    if module is k_sparse:
        monkeypatch.setattr(k_sparse, "_D_SAE", 40)
        monkeypatch.setattr(k_sparse, "_K", 4)
    pca = baselines.pca
    monkeypatch.setattr(baselines, "pca", lambda x, k: pca(x, min(k, 10)))
    found = module.measure(_row(module, label), 0, None)
    assert set(found) <= set(module.COLUMNS)
    assert found.get("error", found.get("probe")) < 10
    assert ("transfer" in found) == ("MNIST: " in label)
    assert ("mse_sum" in found) == (": PCA" in label)


def test_a_random_projection_is_the_nearest_point_of_the_plane_of_its_directions():
    rng = np.random.RandomState(0)
    train, x = rng.rand(20, 6), rng.rand(5, 6)
    w = baselines.random_directions(6, 2, seed=3)
    mean = train.mean(axis=0)
    expected = mean + (w @ np.linalg.lstsq(w, (x - mean).T, rcond=None)[0]).T
    found = baselines.projected_at_random(train, x, 2, seed=3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_k_sparse_codes_are_probed_with_three_times_as_many_latents(tmp_path, monkeypatch):
    seen = []

    def count(train, test, validation, settings):
        seen.extend((part.codes != 0).sum(axis=1) for part in (train, test))
        return probe.Result(7.0, 1.0, {})

    monkeypatch.setattr(probe, "logistic_regression", count)
    row = _row(k_sparse, "k = 25")
    run = _untrained(row, tmp_path, **{"model.d_sae": 40, "model.activation.k.end": 4.0})
    assert k_sparse.measure(row, 0, run) == {"error": 7.0, "fvu": 0.25}
    assert [set(counts.tolist()) for counts in seen] == [{12}, {12}]


def test_untrained_codes_are_the_largest_in_their_places():
    pre = np.asarray([[1.0, -2.0, 5.0, 3.0], [-4.0, -1.0, -3.0, -2.0]], np.float32)
    np.testing.assert_array_equal(k_sparse._largest(pre, 2), [[0, 0, 5, 3], [0, -1, 0, -2]])


def test_winner_take_all_codes_are_rectified_ones(tmp_path):
    row = _row(wta, "FC-WTA, 2,000 latents")
    found = wta.measure(row, 0, _untrained(row, tmp_path, **{"model.d_sae": 60}))
    assert found["error"] < 10
    assert 30 < found["active"] < 70  # Random directions: about half are positive.


def test_reduction_is_measured_on_this_and_on_the_other_set(tmp_path):
    row = _row(reduction, "MNIST: one sigmoid layer")
    found = reduction.measure(row, 0, _untrained(row, tmp_path, **{"model.d_sae": 8}))
    pixels = _data("mnist", "test").x / 255
    # Of random weights nothing is learnt: the error is above that of the mean picture.
    assert pixels.var(axis=0).sum() < found["mse_sum"] < (pixels**2).sum(axis=1).mean()
    assert found.keys() == reduction.COLUMNS.keys()
    assert found["probe"] == found["transfer"] < 10  # Both sets are the same here.
