import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import batch_topk, relu, topk
from sae_jax.models import lista, sae
from tests import jitted

D_IN, D_SAE = 3, 7
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((5, D_IN)), jnp.float32)
PARAMS = {
    name: jnp.asarray(RNG.standard_normal(shape), jnp.float32)
    for name, shape in dict(
        w_enc=(D_IN, D_SAE), w_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,)
    ).items()
}


def _context(train=False):
    return types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), train)


def _by_hand(etas, codes_of):
    w_enc, w_dec, b_enc, b_dec = (
        np.asarray(PARAMS[name], np.float64) for name in ("w_enc", "w_dec", "b_enc", "b_dec")
    )
    x = np.asarray(X, np.float64)
    a = (x - b_dec) @ w_enc + b_enc
    for eta in etas:
        a = a + eta * (x - codes_of(a) @ w_dec - b_dec) @ w_enc
    return a, codes_of(a), codes_of(a) @ w_dec + b_dec


def _check(found, expected):
    for value, wanted in zip((found.pre, found.codes, found.x_hat), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_residuals_are_encoded_again(steps):
    model = lista.Model(D_IN, D_SAE, relu.Activation(), steps=steps, eta=0.1)
    found = jitted.forward(model, PARAMS, {}, X, _context())[0]
    _check(found, _by_hand([0.1] * steps, lambda a: np.maximum(a, 0)))


def test_eta_may_be_learned_for_each_step():
    model = lista.Model(D_IN, D_SAE, relu.Activation(), steps=2, learn_eta=True)
    params = {**PARAMS, "eta": jnp.asarray([0.2, 0.05])}
    found = jitted.forward(model, params, {}, X, _context())[0]
    _check(found, _by_hand([0.2, 0.05], lambda a: np.maximum(a, 0)))
    start, _ = jitted.init(model, jax.random.key(0), X)
    np.testing.assert_allclose(start["eta"], [0.3, 0.3])
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, params)


def test_sparse_codes_give_the_gradients_of_dense_ones():
    def loss(params, form):
        model = lista.Model(D_IN, D_SAE, topk.Activation(k=2, form=form), steps=2, learn_eta=True)
        output, _ = jitted.forward(model, params, {}, X, _context(train=True))
        assert isinstance(output.codes, types.Codes) == (form == "sparse")
        return ((X - output.x_hat) ** 2).sum()

    params = {**PARAMS, "eta": jnp.asarray([0.2, 0.05])}
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    dense, sparse = run(params, "dense"), run(params, "sparse")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), sparse, dense)


def test_each_step_has_thresholds_of_its_own():
    model = lista.Model(D_IN, D_SAE, batch_topk.Activation(k=2))
    params, stats = jitted.init(model, jax.random.key(0), X)
    assert params.keys() == PARAMS.keys()
    output, stats = jitted.forward(model, params, stats, X, _context(train=True))
    assert stats.keys() == {"activation_0", "activation"}
    smallest = output.codes[output.codes > 0].min()
    last = stats["activation"]
    np.testing.assert_allclose(last["sum"] / last["weight"], smallest, rtol=1e-5)
    assert float(stats["activation_0"]["sum"]) != float(last["sum"])


def test_a_step_that_is_nearly_nothing_leaves_the_linear_encoder():
    model = lista.Model(D_IN, D_SAE, relu.Activation(), eta=1e-9)
    found = jitted.forward(model, PARAMS, {}, X, _context())[0]
    plain = sae.Model(D_IN, D_SAE, relu.Activation())
    expected = jitted.forward(plain, PARAMS, {}, X, _context())[0]
    np.testing.assert_allclose(found.x_hat, expected.x_hat, atol=1e-4)


@pytest.mark.parametrize("fields", [dict(steps=0), dict(eta=0.0)])
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="it must be"):
        lista.Model(D_IN, D_SAE, relu.Activation(), **fields)
