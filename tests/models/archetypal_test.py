import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import relu
from sae_jax.losses import budgets, dead, matryoshka, sparsity
from sae_jax.models import archetypal, base
from tests import jitted

D_IN, D_SAE, POINTS = 4, 7, 5
RNG = np.random.default_rng(0)
X = jnp.asarray(2 + RNG.standard_normal((40, D_IN)), jnp.float32)
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool))
MODEL = archetypal.Model(D_IN, D_SAE, relu.Activation(), points=POINTS, delta=0.5, bias="mean")


def _start():
    return jitted.init(MODEL, jax.random.key(1), X)


def _moved():
    params, stats = _start()
    return {
        name: leaf + jnp.asarray(RNG.standard_normal(leaf.shape), jnp.float32)
        for name, leaf in params.items()
    }, stats


def _rows(params, stats):
    mixing, slack, points = (
        np.asarray(array, np.float64)
        for array in (params["mixing"], params["slack"], stats["points"])
    )
    w = np.exp(mixing) / np.exp(mixing).sum(axis=1, keepdims=True)
    for i in range(D_SAE):
        slack[i] *= 0.5 / max(np.linalg.norm(slack[i]), 0.5)
    return np.exp(float(params["log_scale"])) * (w @ points + slack), slack


def test_it_is_the_formula():
    params, stats = _moved()
    rows, slack = _rows(params, stats)
    lengths = np.linalg.norm(slack, axis=1)
    assert lengths.max() == pytest.approx(0.5)
    found = jitted.forward(MODEL, params, stats, X, CONTEXT)[0]
    w_enc, b_enc, b_dec = (np.asarray(params[name]) for name in ("w_enc", "b_enc", "b_dec"))
    pre = (np.asarray(X) - b_dec) @ w_enc + b_enc
    np.testing.assert_allclose(found.pre, pre, atol=1e-4)
    x_hat = np.maximum(pre, 0) @ rows + b_dec
    np.testing.assert_allclose(found.x_hat, x_hat, rtol=1e-4, atol=1e-3)


def test_the_dictionary_and_decode_are_those_of_the_reconstruction():
    params, stats = _moved()
    variables = {"params": params, "stats": stats}
    rows = MODEL.apply(variables, method="dictionary")
    np.testing.assert_allclose(rows, _rows(params, stats)[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(base.with_dictionary(MODEL, params, stats)["w_dec"], rows)
    found = jitted.forward(MODEL, params, stats, X, CONTEXT)[0]
    decoded = MODEL.apply(variables, found.codes, method="decode")
    np.testing.assert_allclose(decoded, found.x_hat, rtol=1e-4, atol=1e-4)


def test_terms_that_decode_do_it_with_its_rows():
    params, stats = _moved()
    rows, _ = _rows(params, stats)
    output, _ = jitted.forward(MODEL, params, stats, X, CONTEXT)
    codes, b_dec = np.asarray(output.codes), np.asarray(params["b_dec"])
    batch = types.Batch(x=X)
    found = matryoshka.matryoshka(params, batch, output, CONTEXT, prefixes=(3, D_SAE))
    errors = [
        ((np.asarray(X) - codes[:, :m] @ rows[:m] - b_dec) ** 2).sum(axis=1) for m in (3, D_SAE)
    ]
    np.testing.assert_allclose(found, np.mean(errors, axis=0), rtol=1e-4)
    found = sparsity.l1_decoder_norm(params, batch, output, CONTEXT)
    np.testing.assert_allclose(found, codes @ np.linalg.norm(rows, axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    "term",
    [
        *(dead.auxk, dead.ghost, budgets.multi_topk, budgets.hierarchical_topk),
        matryoshka.matryoshka_random,
    ],
)
def test_its_mixtures_learn_by_terms_that_decode(term):
    params, stats = _moved()

    def loss(params):
        context = dataclasses.replace(CONTEXT, dead=jnp.ones(D_SAE, bool))
        output, _ = jitted.forward(MODEL, params, stats, X, context)
        return term(params, types.Batch(x=X), output, context).sum()

    assert np.abs(jax.jit(jax.grad(loss))(params)["mixing"]).max() > 0


def test_each_row_starts_near_a_point_of_the_data_and_gives_it_the_code_one():
    params, stats = _start()
    rows, points = _rows(params, stats)[0], np.asarray(stats["points"])
    weights = np.full((D_SAE, POINTS), 0.1 / (POINTS - 1))
    weights[np.arange(D_SAE), np.arange(D_SAE) % POINTS] = 0.9
    np.testing.assert_allclose(rows, weights @ points, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((rows * np.asarray(params["w_enc"]).T).sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1.0)  # b_dec is taken off.


def test_slack_and_mixtures_have_gradients_from_the_start():
    params, stats = _start()

    def loss(params):
        return ((X - jitted.forward(MODEL, params, stats, X, CONTEXT)[0].x_hat) ** 2).sum()

    for name, slope in jax.jit(jax.grad(loss))(params).items():
        assert np.isfinite(slope).all()
        assert np.abs(slope).max() > 0, name


@pytest.mark.parametrize(
    ("fields", "message"),
    [(dict(points=1), "points=1: it must be 2"), (dict(points=5, delta=-1.0), "delta=-1.0: it")],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        archetypal.Model(D_IN, D_SAE, relu.Activation(), **fields)
