"""Errors at other budgets against NumPy, in both forms of codes, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.losses import budgets, reconstruction
from sae_jax.ops import linear, sparse

RNG = np.random.default_rng(0)
BATCH, D_IN, D_SAE, K = 5, 4, 12, 3
SHAPES = dict(w_enc=(D_IN, D_SAE), w_dec=(D_SAE, D_IN), b_enc=(D_SAE,), b_dec=(D_IN,))
PARAMS = {
    name: jnp.asarray(RNG.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()
}
X = jnp.asarray(RNG.standard_normal((BATCH, D_IN)), jnp.float32)
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), True)


def _output(params, form):
    """TopK of a linear encoder, with sparse or dense codes."""
    parts = (X, params["b_dec"], params["w_enc"], params["b_enc"])
    pre = types.Pre(linear.encode(*parts), *parts)
    indices = jax.lax.top_k(pre.dense, K)[1]
    # In another order than by size, as a model may give them.
    codes = types.Codes(sparse.take(pre, indices), indices, D_SAE)
    codes = jax.tree.map(lambda leaf: leaf[:, ::-1], codes)
    x_hat = sparse.product(codes, params["w_dec"]) + params["b_dec"][None]
    return types.Output(x_hat, codes if form == "sparse" else sparse.dense(codes), pre)


def _term(of, form, params=PARAMS, **knobs):
    return of(params, types.Batch(x=X), _output(params, form), CONTEXT, **knobs)


def _ranked():
    w_enc, b_enc, b_dec = (
        np.asarray(PARAMS[name], np.float64) for name in ("w_enc", "b_enc", "b_dec")
    )
    pre = (np.asarray(X) - b_dec) @ w_enc + b_enc
    return pre, np.argsort(-pre, axis=1)


def _error(codes):
    x_hat = codes @ np.asarray(PARAMS["w_dec"]) + np.asarray(PARAMS["b_dec"])
    return ((np.asarray(X) - x_hat) ** 2).sum(axis=1)


def _kept(pre, order, k):
    codes = np.zeros_like(pre)
    np.put_along_axis(codes, order[:, :k], np.take_along_axis(pre, order[:, :k], 1), 1)
    return codes


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_every_budget_counts_the_same(form):
    pre, order = _ranked()
    expected = np.mean([_error(_kept(pre, order, j)) for j in range(1, K + 1)], axis=0)
    found = _term(budgets.hierarchical_topk, form, k=K)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_budget_of_one_is_the_error_of_the_largest():
    pre, order = _ranked()
    found = _term(budgets.hierarchical_topk, "sparse", k=1)
    np.testing.assert_allclose(found, _error(_kept(pre, order, 1)), rtol=1e-4)


def test_the_gradient_is_that_of_a_plain_sum_of_errors():
    pre, order = _ranked()

    def plain(params):
        codes = _output(params, "dense").codes
        error = 0.0
        for j in range(1, K + 1):
            kept = jnp.asarray(_kept(pre, order, j) != 0)
            x_hat = jnp.where(kept, codes, 0.0) @ params["w_dec"] + params["b_dec"][None]
            error += ((X - x_hat) ** 2).sum() / K
        return error

    expected = jax.jit(jax.value_and_grad(plain))(PARAMS)
    for form in ("dense", "sparse"):
        found = jax.jit(
            jax.value_and_grad(
                lambda params, form=form: _term(budgets.hierarchical_topk, form, params, k=K).sum()
            )
        )(PARAMS)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), found, expected
        )


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("k", [K, 9, 99])
def test_more_latents_are_kept(form, relu, k, monkeypatch):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    pre, order = _ranked()
    codes = _kept(pre, order, k)
    expected = _error(np.maximum(codes, 0) if relu else codes)
    found = _term(budgets.multi_topk, "sparse", k=k, relu=relu)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_both_forms_have_the_same_gradient_and_the_models_own_k_gives_its_own_error(monkeypatch):
    def slopes(form):
        monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
        of = budgets.multi_topk
        return jax.jit(jax.value_and_grad(lambda params: _term(of, form, params, k=5).sum()))(
            PARAMS
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
        slopes("sparse"),
        slopes("dense"),
    )
    found = _term(budgets.multi_topk, "sparse", k=K, relu=False)
    expected = _term(reconstruction.mse_sum, "sparse")
    np.testing.assert_allclose(found, expected, rtol=1e-4)
