"""MLPs whose neurons are known: what they read and write, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base, mlp_stack

ROWS = 4000


def _batch(**kwargs):
    data = mlp_stack.load("test", **kwargs)
    raw = data.rows(np.arange(ROWS))
    return data, jax.device_get(jax.jit(data.decode)(raw))


@pytest.fixture(scope="module")
def stack():
    return _batch(layers=3, active=0.1, repeated=0.5)


def test_layers_read_the_stream_and_write_into_it(stack):
    data, batch = stack
    weights = {name: np.asarray(a, np.float64) for name, a in data.network.weights.items()}
    stream = batch.truth.astype(np.float64) @ data.features
    read, written = (x.reshape(ROWS, 3, 32) for x in (batch.x, batch.y))
    for layer in range(3):
        np.testing.assert_allclose(read[:, layer], stream, atol=1e-4)
        pre = stream @ weights["w_in"][layer] + weights["b_in"][layer]
        y = np.maximum(pre, 0) @ weights["w_out"][layer]
        np.testing.assert_allclose(written[:, layer], y, atol=1e-4)
        assert (pre > 0).mean() == pytest.approx(0.1, abs=0.02)
        stream = stream + y
    assert data.spec.grid == (3, 32)
    assert data.spec.d_out == data.spec.d_in == 96


def test_half_of_the_neurons_are_repeated_and_all_have_directions(stack):
    data, _ = stack
    for name in ("w_in", "b_in", "w_out"):
        layers = data.network.weights[name]
        layers = layers.swapaxes(1, 2) if name == "w_in" else layers
        first, last = layers[0], layers[2]
        np.testing.assert_array_equal(first[:32], last[:32])
        assert (first[32:] != last[32:]).reshape(32, -1).any(axis=1).all()
    norms = np.linalg.norm(data.network.weights["w_out"], axis=2)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(data.network.weights["w_in"], axis=1), 1, atol=1e-5)


def test_features_are_on_as_often_and_as_much_as_is_said(stack):
    codes = stack[1].truth
    assert (codes > 0).mean() == pytest.approx(0.06, abs=0.003)
    assert codes[codes > 0].mean() == pytest.approx(1, abs=0.01)
    assert codes[codes > 0].std() == pytest.approx(0.15, abs=0.01)


def test_parts_are_what_one_sees_of_the_whole():
    whole = base.first(mlp_stack.load("test"), 50)
    inputs, outputs = (
        base.first(mlp_stack.load("test", part=p), 50) for p in ("inputs", "outputs")
    )
    assert inputs.y is None
    assert outputs.y is None
    np.testing.assert_allclose(inputs.x, whole.x, atol=1e-6)
    np.testing.assert_allclose(outputs.x, whole.y, atol=1e-6)
    assert mlp_stack.load("test", part="outputs").spec.target_shape is None


def test_an_example_on_the_device_is_that_of_the_host_and_worlds_differ():
    data = mlp_stack.load("train[100:200]")
    there = jax.jit(data.at)(jax.tree.map(jnp.asarray, data.source), jnp.asarray([3, 1]))
    here = data.decode(data.rows(np.asarray([3, 1])))
    np.testing.assert_allclose(there.y, here.y, atol=1e-6)
    prints = [
        mlp_stack.load("test[:64]", **kw).fingerprint()["crc32"] for kw in ({}, {"active": 0.2})
    ]
    assert prints[0] != prints[1]


@pytest.mark.parametrize("kwargs", [{"layers": 0}, {"part": "none"}, {"active": 1.0}])
def test_what_cannot_be_is_refused(kwargs):
    with pytest.raises(errors.DataError, match=next(iter(kwargs))):
        mlp_stack.load("test", **kwargs)
