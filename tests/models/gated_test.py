"""The gated autoencoder and its terms against NumPy, and what learns by which term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.losses import gated as terms, reconstruction
from sae_jax.models import gated
from tests import jitted

D_IN, D_SAE = 3, 7
RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, D_IN))
PARAMS = {
    "w_enc": RNG.standard_normal((D_IN, D_SAE)),
    "w_dec": RNG.standard_normal((D_SAE, D_IN)),
    "b_gate": RNG.standard_normal(D_SAE),
    "r_mag": 0.5 * RNG.standard_normal(D_SAE),
    "b_mag": RNG.standard_normal(D_SAE),
    "b_dec": RNG.standard_normal(D_IN),
}
BATCH = types.Batch(x=jnp.asarray(X, jnp.float32))
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool))


def _by_hand():
    products = (X - PARAMS["b_dec"]) @ PARAMS["w_enc"]
    pre = products + PARAMS["b_gate"]
    magnitudes = np.maximum(np.exp(PARAMS["r_mag"]) * products + PARAMS["b_mag"], 0)
    codes = (pre > 0) * magnitudes
    return pre, codes, codes @ PARAMS["w_dec"] + PARAMS["b_dec"]


def _output(params):
    return jitted.forward(gated.Model(D_IN, D_SAE), params, {}, BATCH.x, CONTEXT)[0]


def _slopes(of):
    params = {name: jnp.asarray(value, jnp.float32) for name, value in PARAMS.items()}

    def loss(params):
        return of(params, BATCH, _output(params), CONTEXT).sum()

    return jax.jit(jax.value_and_grad(loss))(params)


def test_it_is_the_formula():
    pre, codes, x_hat = _by_hand()
    found = _output({name: jnp.asarray(value, jnp.float32) for name, value in PARAMS.items()})
    np.testing.assert_allclose(found.pre, pre, atol=1e-5)
    np.testing.assert_allclose(found.codes, codes, atol=1e-5)
    np.testing.assert_allclose(found.x_hat, x_hat, atol=1e-4)
    # Some gates are open where there is no magnitude, and some are shut where there is.
    assert ((pre > 0) & (codes == 0)).any()
    assert ((pre <= 0) & (np.exp(PARAMS["r_mag"]) * (pre - PARAMS["b_gate"]) > 0)).any()


def test_the_terms_are_the_formulas():
    gates = np.maximum(_by_hand()[0], 0)
    np.testing.assert_allclose(_slopes(terms.gate_l1)[0], gates.sum(), rtol=1e-5)
    error = X - gates @ PARAMS["w_dec"] - PARAMS["b_dec"]
    np.testing.assert_allclose(_slopes(terms.gate_reconstruction)[0], (error**2).sum(), rtol=1e-5)


def test_the_gate_learns_by_its_terms_and_the_decoder_by_the_reconstruction():
    _, by_error = _slopes(reconstruction.mse_sum)
    np.testing.assert_array_equal(by_error["b_gate"], 0)
    for name in ("w_enc", "w_dec", "r_mag", "b_mag", "b_dec"):
        assert np.abs(by_error[name]).max() > 0
    for term in (terms.gate_l1, terms.gate_reconstruction):
        _, by_term = _slopes(term)
        for name in ("w_dec", "r_mag", "b_mag"):
            np.testing.assert_array_equal(by_term[name], 0)
        assert np.abs(by_term["b_gate"]).max() > 0


def test_the_auxiliary_error_moves_the_bias_only_as_the_encoder_sees_it():
    gates = np.maximum(_by_hand()[0], 0)
    error = X - gates @ PARAMS["w_dec"] - PARAMS["b_dec"]
    g_pre = -2 * error @ PARAMS["w_dec"].T * (gates > 0)
    _, found = _slopes(terms.gate_reconstruction)
    np.testing.assert_allclose(found["b_gate"], g_pre.sum(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        found["b_dec"], -(g_pre @ PARAMS["w_enc"].T).sum(axis=0), rtol=1e-4, atol=1e-3
    )


def test_at_the_start_gate_and_magnitude_agree():
    model = gated.Model(D_IN, D_SAE, decoder_norm=0.1)
    params, _ = jitted.init(model, jax.random.key(0), BATCH.x)
    np.testing.assert_array_equal(params["w_enc"], params["w_dec"].T)
    found = _output(params)
    np.testing.assert_array_equal(found.codes, np.maximum(found.pre, 0))


def test_a_dictionary_of_nothing_is_refused():
    with pytest.raises(ValueError, match="d_sae=0: it must be 1 or more"):
        gated.Model(D_IN, 0)
