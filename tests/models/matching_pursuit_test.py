import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.models import matching_pursuit
from tests import jitted

D_IN, D_SAE, K = 4, 9, 3
RNG = np.random.default_rng(0)
X, B_DEC = RNG.standard_normal((6, D_IN)), RNG.standard_normal(D_IN)
ROWS = RNG.standard_normal((D_SAE, D_IN))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
PARAMS = {"w_dec": jnp.asarray(ROWS, jnp.float32), "b_dec": jnp.asarray(B_DEC, jnp.float32)}
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool))


def _output(params=PARAMS, **fields):
    model = matching_pursuit.Model(D_IN, D_SAE, K, **fields)
    return jitted.forward(model, params, {}, jnp.asarray(X, jnp.float32), CONTEXT)[0]


@pytest.mark.parametrize("relu", [False, True])
def test_it_explains_what_lies_beside_the_bias(relu):
    codes, left = np.zeros((len(X), D_SAE)), X - B_DEC
    for b in range(len(X)):
        for _ in range(K):
            products = ROWS @ left[b]
            j = np.argmax(products if relu else np.abs(products))
            value = max(products[j], 0) if relu else products[j]
            codes[b, j] += value
            left[b] = left[b] - value * ROWS[j]
    found = _output(relu=relu)
    np.testing.assert_allclose(found.codes, codes, atol=1e-5)
    np.testing.assert_allclose(found.x_hat, codes @ ROWS + B_DEC, atol=1e-5)
    np.testing.assert_allclose(found.pre, (X - B_DEC) @ ROWS.T, atol=1e-5)
    assert (codes < 0).any() != relu


def test_decode_gives_the_reconstruction_from_the_codes():
    found = _output()
    model = matching_pursuit.Model(D_IN, D_SAE, K)
    again = model.apply({"params": PARAMS}, found.codes, method="decode")
    np.testing.assert_allclose(again, found.x_hat, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    def loss(params):
        return (_output(params).x_hat ** 2).sum() + (_output(params).codes ** 3).sum()

    grads = jax.jit(jax.grad(loss))(PARAMS)
    for name, value in PARAMS.items():
        nudge = jnp.asarray(RNG.standard_normal(value.shape), jnp.float32)
        up, down = (loss({**PARAMS, name: value + sign * 1e-3 * nudge}) for sign in (1, -1))
        slope = (up - down) / 2e-3
        np.testing.assert_allclose((grads[name] * nudge).sum(), slope, rtol=5e-3, atol=1e-2)


def test_rows_start_at_norm_one():
    model = matching_pursuit.Model(D_IN, D_SAE, K, bias="mean")
    params, _ = jitted.init(model, jax.random.key(0), jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(np.linalg.norm(params["w_dec"], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(params["b_dec"], X.mean(axis=0), atol=1e-5)


def test_at_least_one_step_is_taken():
    with pytest.raises(ValueError, match="k=0: it must be 1 or more"):
        matching_pursuit.Model(D_IN, D_SAE, 0)
