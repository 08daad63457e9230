"""jacobian and saturation: what an encoder is like at the examples of a split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.metrics import jacobian, saturation
from sae_jax.models import base

D_IN, D_SAE = 6, 4


def _weights():
    return np.random.RandomState(0).randn(D_IN, D_SAE).astype(np.float32)


def _x(rows=5):
    return np.random.RandomState(1).rand(rows, D_IN).astype(np.float32)


def _measure(metric, x, codes=None, mask=None, **knobs):
    bound = types.Bound(lambda x: jax.nn.sigmoid(x @ jnp.asarray(_weights())), lambda name: None)
    codes = bound.encode(jnp.asarray(x)) if codes is None else jnp.asarray(codes, jnp.float32)
    batch = types.Batch(
        x=jnp.asarray(x), mask=None if mask is None else jnp.asarray(mask, jnp.float32)
    )
    output = types.Output(x_hat=batch.x, codes=codes, pre=codes)
    sums = base.supply(metric.sums, bound)(batch, output, jnp.zeros(1), **knobs)
    return metric.finish({name: np.asarray(value, np.float64) for name, value in sums.items()})


def _squared_by_hand(x):
    h = 1 / (1 + np.exp(-x.astype("d") @ _weights()))
    return ((h * (1 - h)) ** 2) @ (_weights().astype("d") ** 2).sum(axis=0)


def test_the_norm_is_the_mean_of_norms_and_not_the_root_of_the_mean_square():
    squared = _squared_by_hand(_x())
    found = _measure(jacobian, _x())
    expected = {"jacobian": np.sqrt(squared).mean(), "jacobian_squared": squared.mean()}
    assert found == pytest.approx(expected, rel=1e-5)
    assert abs(expected["jacobian"] ** 2 / expected["jacobian_squared"] - 1) > 1e-3


def test_estimates_come_near_the_norm_and_do_not_depend_on_the_batch():
    x = _x(40)
    exact, found = _measure(jacobian, x), _measure(jacobian, x, samples=4000)
    assert found == pytest.approx(exact, rel=0.05)
    assert found != pytest.approx(exact, rel=1e-5)
    parts = [_measure(jacobian, half, samples=4000) for half in (x[:10], x[10:])]
    whole = sum(len_ * part["jacobian"] for len_, part in zip((10, 30), parts, strict=True)) / 40
    assert whole == pytest.approx(found["jacobian"], rel=1e-5)


def test_saturated_is_below_5_or_above_95_per_cent():
    codes = [[0.04, 0.06, 0.5, 0.96], [0.94, 0.05, 0.95, 0.0], [1.0, 1.0, 0.0, 0.0]]
    # At the bounds themselves (as float32 rounds them) a latent is not saturated.
    assert _measure(saturation, _x(3), codes) == pytest.approx({"saturated": (2 + 1 + 4) / 12})


@pytest.mark.parametrize("metric", [jacobian, saturation])
def test_padding_counts_nowhere(metric):
    codes = np.random.RandomState(2).rand(5, D_SAE)
    whole = _measure(metric, _x(), codes, mask=[1, 1, 0, 1, 0])
    kept = [0, 1, 3]
    assert whole == pytest.approx(_measure(metric, _x()[kept], codes[kept]), rel=1e-6)
