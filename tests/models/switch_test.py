"""The router and its experts against NumPy, and the gradient against a model that computes all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import routing
from sae_jax.models import switch
from sae_jax.ops import sparse
from tests import jitted

D_IN, D_SAE, N, K, BATCH = 4, 12, 3, 2, 9
RNG = np.random.default_rng(1)
X = RNG.standard_normal((BATCH, D_IN))
SHAPES = dict(
    w_enc=(D_IN, D_SAE), w_dec=(D_SAE, D_IN), w_router=(D_IN, N), b_router=(D_IN,), b_dec=(D_IN,)
)
PARAMS = {name: RNG.standard_normal(shape) for name, shape in SHAPES.items()}
MODEL = switch.Model(D_IN, D_SAE, experts=N, k=K)


def _context(train):
    return types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), train)


def _params():
    return {name: jnp.asarray(value, jnp.float32) for name, value in PARAMS.items()}


def _output(params, train=False):
    return jitted.forward(MODEL, params, {}, jnp.asarray(X, jnp.float32), _context(train))[0]


def _by_hand():
    logits = (X - PARAMS["b_router"]) @ PARAMS["w_router"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pre, codes = np.zeros((BATCH, D_SAE)), np.zeros((BATCH, D_SAE))
    for b in range(BATCH):
        e = p[b].argmax()
        own = np.arange(e * 4, e * 4 + 4)
        pre[b, own] = (X[b] - PARAMS["b_dec"]) @ PARAMS["w_enc"][:, own]
        kept = own[np.argsort(-pre[b, own])[:K]]
        codes[b, kept] = p[b, e] * np.maximum(pre[b, kept], 0)
    return p, pre, codes, codes @ PARAMS["w_dec"] + PARAMS["b_dec"]


@pytest.mark.parametrize("train", [False, True])
def test_it_is_the_formula(train):
    p, pre, codes, x_hat = _by_hand()
    assert len(set(p.argmax(axis=1))) == N
    found = _output(_params(), train)
    assert isinstance(found.codes, types.Codes) == train
    np.testing.assert_allclose(found.extras["router"], p, rtol=1e-4)
    np.testing.assert_allclose(found.pre, pre, atol=1e-5)
    np.testing.assert_allclose(sparse.dense(found.codes), codes, atol=1e-5)
    np.testing.assert_allclose(found.x_hat, x_hat, atol=1e-4)


def test_the_gradient_is_that_of_a_model_that_computes_all():
    _, _, codes, _ = _by_hand()
    x, kept = jnp.asarray(X, jnp.float32), jnp.asarray(codes > 0)

    def of_all(params):
        p = jax.nn.softmax((x - params["b_router"][None]) @ params["w_router"], axis=1)
        pre = (x - params["b_dec"][None]) @ params["w_enc"]
        weighed = jnp.where(kept, jnp.repeat(p, 4, axis=1) * pre, 0.0)
        return ((x - weighed @ params["w_dec"] - params["b_dec"][None]) ** 2).sum()

    def of_one(params):
        return ((x - _output(params, train=True).x_hat) ** 2).sum()

    found, expected = (jax.jit(jax.value_and_grad(of))(_params()) for of in (of_one, of_all))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected
    )


def test_pre_activations_have_a_gradient_where_they_were_computed():
    def loss(params):
        return _output(params, train=True).pre.sum()

    pre = _by_hand()[1]
    grads = jax.jit(jax.grad(loss))(_params())
    np.testing.assert_allclose(
        grads["w_enc"], (X - PARAMS["b_dec"]).T @ (pre != 0), rtol=1e-4, atol=1e-4
    )
    expected = -((pre != 0) @ PARAMS["w_enc"].T).sum(axis=0)
    np.testing.assert_allclose(grads["b_dec"], expected, rtol=1e-4, atol=1e-4)


def test_the_load_is_balanced_by_the_formula():
    p, sent = _by_hand()[0], np.zeros((BATCH, N))
    sent[np.arange(BATCH), p.argmax(axis=1)] = 1
    batch = types.Batch(x=jnp.asarray(X, jnp.float32))
    found = routing.load_balance({}, batch, _output(_params()), _context(False))
    expected = N * (sent.mean(axis=0) * p.mean(axis=0)).sum()
    np.testing.assert_allclose(found, np.full(BATCH, expected), rtol=1e-5)


def test_an_even_load_counts_one_and_one_expert_alone_counts_all():
    def term(p):
        output = types.Output(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()), {"router": p})
        return routing.load_balance({}, types.Batch(jnp.zeros((2, 1))), output, _context(False))

    even = jnp.asarray([[0.5 + 1e-6, 0.5 - 1e-6], [0.5 - 1e-6, 0.5 + 1e-6]])
    np.testing.assert_allclose(term(even), [1.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(term(jnp.asarray([[1.0, 0.0], [1.0, 0.0]])), [2.0, 2.0])


def test_the_term_without_a_router_says_which_model_to_choose():
    x = jnp.zeros((2, 3))
    with pytest.raises(errors.ConfigError, match='a router: set config.model.name="switch"'):
        routing.load_balance({}, types.Batch(x=x), types.Output(x, x, x), _context(False))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(experts=5, k=1), "experts=5 of 12 latents"),
        (dict(experts=3, k=5), "k=5 of 4 latents of an expert"),
        (dict(experts=0, k=1), "experts=0: it must be 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        switch.Model(D_IN, D_SAE, **fields)
