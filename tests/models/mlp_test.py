"""The deep autoencoder: shapes, ties, biases, and layers that learn by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import identity, sigmoid
from sae_jax.losses import reconstruction
from sae_jax.models import mlp, sae
from tests import jitted


def _model(**fields):
    return mlp.Model(**(dict(d_in=8, d_out=8, d_sae=3, activation=identity.Activation()) | fields))


def _context(step=0, train=True):
    return types.Context(jnp.asarray(step), jax.random.key(1), jnp.zeros((), bool), train)


def _x(rows=6):
    return jnp.asarray(np.random.RandomState(0).rand(rows, 8), jnp.float32)


def _init(model):
    return jitted.init(model, jax.random.key(0), _x())[0]


def test_without_hidden_layers_it_is_the_autoencoder_of_one_layer():
    deep = _model(activation=sigmoid.Activation(), output="sigmoid")
    params = _init(deep)
    flat = sae.Model(
        d_in=8, d_sae=3, activation=sigmoid.Activation(), output="sigmoid", pre_bias=False
    )
    for model in (deep, flat):
        output = jitted.forward(model, params, {}, _x(), _context())[0]
        expected = 1 / (1 + np.exp(-np.asarray(_x() @ params["w_enc"] + params["b_enc"][None])))
        np.testing.assert_allclose(output.codes, expected, rtol=1e-5)
        logits = expected @ np.asarray(params["w_dec"]) + np.asarray(params["b_dec"])
        np.testing.assert_allclose(output.extras["logits"], logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(output.x_hat, 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_tied_decoders_have_no_matrices_of_their_own():
    params = _init(_model(hidden=(5,), tied=True))
    assert sorted(params) == ["b_dec", "b_enc", "dec_0", "enc_0", "w_enc"]
    assert sorted(params["dec_0"]) == ["b"]
    x = _x()
    output = jitted.forward(
        _model(hidden=(5,), tied=True, nonlinearity="tanh"), params, {}, x, _context()
    )[0]
    w, h = params["enc_0"]["w"], np.tanh(x @ params["enc_0"]["w"])
    g = np.tanh(h @ params["w_enc"] @ params["w_enc"].T)
    np.testing.assert_allclose(output.x_hat, g @ w.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_with_bias_mean_a_decoder_without_weights_gives_the_mean(output):
    model = _model(hidden=(5,), output=output, bias="mean")
    params = _init(model)
    params["dec_0"]["w"] = jnp.zeros_like(params["dec_0"]["w"])
    x_hat = jitted.forward(model, params, {}, _x(), _context())[0].x_hat
    np.testing.assert_allclose(x_hat, np.tile(_x().mean(axis=0), (6, 1)), rtol=1e-5)


def test_in_each_phase_one_layer_and_its_mirror_learn():
    model = _model(hidden=(6, 5), layerwise=True)
    params, batch = _init(model), types.Batch(x=_x())

    @jax.jit
    @jax.grad
    def slope(params, step):
        output = jitted.forward(model, params, {}, batch.x, _context(step))[0]
        return reconstruction.layerwise(params, batch, output, _context(step), steps=10).sum()

    def moved(step):
        slopes = jax.tree_util.tree_leaves_with_path(slope(params, step))
        return {path[0].key for path, slope in slopes if np.abs(slope).max() > 0}

    assert moved(0) == moved(9) == {"enc_0", "dec_0"}
    assert moved(10) == {"enc_1", "dec_1"}
    assert moved(20) == moved(99) == {"w_enc", "b_enc", "w_dec", "b_dec"}


def test_a_layer_by_itself_reconstructs_what_it_saw():
    model = _model(hidden=(6,), layerwise=True, nonlinearity="relu")
    params, x = _init(model), _x()
    extras = jitted.forward(model, params, {}, x, _context())[0].extras
    h = np.maximum(x @ params["enc_0"]["w"], 0)
    np.testing.assert_allclose(extras["layer_input"][1], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        extras["layer_output"][0], h @ params["dec_0"]["w"], rtol=1e-5, atol=1e-6
    )
    made = np.maximum(h @ params["w_enc"] @ params["w_dec"], 0)
    np.testing.assert_allclose(extras["layer_output"][1], made, rtol=1e-4, atol=1e-6)


def test_noise_on_layers_is_there_in_training_only():
    model = _model(hidden=(6,), layerwise=True, layer_noise=0.5)
    params = _init(model)

    def made(train):
        return jitted.forward(model, params, {}, _x(), _context(train=train))[0].extras

    clean, noisy = made(train=False), made(train=True)
    assert np.abs(clean["layer_output"][0] - noisy["layer_output"][0]).max() > 1e-3
    np.testing.assert_array_equal(clean["layer_input"][1], noisy["layer_input"][1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(d_sae=0), "d_sae=0"),
        (dict(hidden=(4, 0)), "hidden=.*0"),
        (dict(nonlinearity="rleu"), "rleu.*choose from.*relu"),
        (dict(d_out=9, tied=True), "as wide as the input"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        _model(**fields)
