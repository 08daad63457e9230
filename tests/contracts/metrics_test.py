"""Every metric, found by name: no number depends on how a split is cut into batches."""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build, report
from sae_jax import types
from sae_jax.data import base
from sae_jax.models import base as models

ROWS, D_IN, D_SAE = 64, 8, 32
METRICS = {
    name: importlib.import_module(f"sae_jax.metrics.{name}") for name in build.modules_in("metrics")
}

# What a metric of its own kind of data is given: input and target, made of `[rows, D_IN]`.
DATA = {
    "prediction": lambda x: (x[:, : D_IN // 2], x),
    "ranking": lambda x: ((x < 3.5).astype("f4"), (x > 4.5).astype("f4")),
}


class _World:
    """Features that metrics of known features are given: at two sites, the first four at one."""

    spec = base.Spec("world", "test", (D_IN,), (2, D_IN // 2))
    features = np.random.RandomState(2).randn(20, D_IN).astype(np.float32)
    parents = np.asarray([-1] * 5 + [0, 0, 1, 2, 2] + [-1] * 10)
    features[:4, D_IN // 2 :] = 0


PARAMS = {
    "w_enc": np.random.RandomState(3).randn(D_IN, D_SAE),
    "w_dec": np.random.RandomState(4).randn(D_SAE, D_IN),
    "b_dec": np.random.RandomState(5).randn(D_IN),
}
PARAMS["w_dec"][-3:] = _World.features[:3]  # One site's own latents, rightly,
PARAMS["w_dec"][-6:-3] = _World.features[4:7]
PARAMS["w_dec"][-6:-3, D_IN // 2 :] = 0  # and wrongly.
KNOBS = {  # What the config or the data must say, or tells something.
    "ssim": dict(grid=(2, 4, 1), size=2),
    "s_n_dec": dict(n=4),
}

every_metric = pytest.mark.parametrize("name", METRICS)


def _split():
    rng = np.random.RandomState(0)
    x = 4 + rng.randn(ROWS, D_IN).astype(np.float32)
    codes = rng.rand(ROWS, D_SAE) * (rng.rand(ROWS, D_SAE) < np.linspace(0, 0.4, D_SAE))
    codes[0] = 0
    return x, x + 0.3 * rng.randn(ROWS, D_IN).astype(np.float32), codes.astype(np.float32)


@functools.cache
def _sums(name):
    """Returns what a batch adds to a metric; one that asks for a model is given a small one."""
    w = jnp.asarray(np.random.RandomState(1).randn(D_IN, D_SAE), jnp.float32)

    def call(name, x, key, samples):
        assert name == "log_weights", f"a model of this test has no {name}"
        return jax.random.normal(key, (len(x), samples)) - x.sum(axis=1, keepdims=True)

    bound = types.Bound(lambda x: jnp.tanh(0.1 * x @ w), call)
    sums = functools.partial(METRICS[name].sums, **KNOBS.get(name, {}))
    if hasattr(METRICS[name], "prepare"):
        sums = functools.partial(sums, prepared=METRICS[name].prepare(PARAMS, _World))
    return jax.jit(models.supply(sums, bound))


def _totals(name, size, padding="last row"):
    """Sums over the split in batches of `size`, as `train.evaluate` takes them."""
    x, x_hat, codes = _split()
    reference = x[:16].mean(axis=0)
    totals = None
    for index, mask in base.batches(ROWS, size):
        rows = [array[index] for array in (x, x_hat, codes)]
        if padding == "noise":
            rows = [np.where(mask[:, None] > 0, row, 100 + row) for row in rows]
        x_seen, y = DATA[name](rows[0]) if name in DATA else (rows[0], None)
        truth = np.maximum(rows[1] @ _World.features.T - 4, 0)
        truth = truth * (rows[2] != 0).any(axis=1, keepdims=True)  # Of the first there is none.
        batch = types.Batch(x=x_seen, y=y, mask=mask, truth=truth)
        output = types.Output(x_hat=rows[1], codes=rows[2], pre=rows[2])
        sums = _sums(name)(*jax.tree.map(jnp.asarray, (batch, output)), reference)
        sums = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), sums)
        totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
    return totals


@every_metric
@pytest.mark.parametrize("size", [pytest.param(16, marks=pytest.mark.slow), 7, 100])
@pytest.mark.parametrize("padding", ["last row", "noise"])
def test_it_does_not_depend_on_how_the_split_is_cut(name, size, padding):
    metric = METRICS[name]
    whole = metric.finish(_totals(name, ROWS))
    assert metric.finish(_totals(name, size, padding)) == pytest.approx(whole, rel=1e-6)


@every_metric
def test_it_finishes_in_finite_floats_that_tell_something(name):
    metric = METRICS[name]
    found = metric.finish(_totals(name, ROWS))
    assert found
    for key, value in found.items():
        assert type(value) is float, key
        assert np.isfinite(value), key
        assert value > 0, f"{key} is 0 where data and codes are random"


@every_metric
def test_it_says_what_it_measures(name):
    metric = METRICS[name]
    assert inspect.getdoc(metric)
    assert all(report.meaning(key) for key in metric.finish(_totals(name, ROWS)))
    taken = list(inspect.signature(metric.sums).parameters)
    assert taken[:3] == ["batch", "output", "reference"]
    for knob in taken[3:]:
        assert f"{knob}:" in inspect.getdoc(metric.sums), f"{knob} is not explained"
    assert list(inspect.signature(metric.finish).parameters) == ["totals"]


def test_no_two_metrics_give_a_number_the_same_name():
    names = [key for name in METRICS for key in METRICS[name].finish(_totals(name, ROWS))]
    assert len(names) == len(set(names))
