"""Errors of nested dictionaries, against a slow loop over prefixes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import matryoshka, reconstruction
from sae_jax.ops import sparse

RNG = np.random.default_rng(0)
BATCH, D_IN, D_SAE, K = 5, 4, 12, 3
ENDS = (2, 5, 12)
X = jnp.asarray(RNG.standard_normal((BATCH, D_IN)), jnp.float32)
PARAMS = {
    "w_dec": jnp.asarray(RNG.standard_normal((D_SAE, D_IN)), jnp.float32),
    "b_dec": jnp.asarray(RNG.standard_normal(D_IN), jnp.float32),
}
VALUES = jnp.asarray(RNG.standard_normal((BATCH, K)), jnp.float32)
INDICES = jnp.asarray(np.stack([RNG.permutation(D_SAE)[:K] for _ in range(BATCH)]), jnp.int32)
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(12, bool), True)


def _term(params=PARAMS, values=VALUES, form="dense", **knobs):
    codes = types.Codes(values, INDICES, D_SAE)
    if form == "dense":
        codes = sparse.dense(codes)
    x_hat = sparse.product(codes, params["w_dec"]) + params["b_dec"][None]
    output = types.Output(x_hat=x_hat, codes=codes, pre=codes)
    return matryoshka.matryoshka(
        params, types.Batch(x=X), output, CONTEXT, **{"prefixes": ENDS, **knobs}
    )


def _by_hand(weights=(1, 1, 1)):
    codes = np.asarray(sparse.dense(types.Codes(VALUES, INDICES, D_SAE)))
    w_dec, b_dec = np.asarray(PARAMS["w_dec"]), np.asarray(PARAMS["b_dec"])
    total = np.zeros(BATCH)
    for weight, end in zip(weights, ENDS, strict=True):
        x_hat = b_dec + sum(codes[:, i : i + 1] * w_dec[i] for i in range(end))
        total += weight * ((X - x_hat) ** 2).sum(axis=1)
    return total


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_it_is_the_mean_or_the_sum_over_prefixes(form):
    np.testing.assert_allclose(_term(form=form), _by_hand() / 3, rtol=1e-5)
    np.testing.assert_allclose(_term(form=form, total="sum"), _by_hand(), rtol=1e-5)
    found = _term(form=form, weights=(0.25, 0.5, 1.0))
    np.testing.assert_allclose(found, _by_hand((0.25, 0.5, 1)) / 1.75, rtol=1e-5)


def test_both_forms_have_the_same_gradient():
    def slopes(form):
        return jax.jit(jax.grad(lambda params, values: _term(params, values, form).sum(), (0, 1)))(
            PARAMS, VALUES
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        slopes("sparse"),
        slopes("dense"),
    )


def test_shares_are_of_the_dictionary():
    np.testing.assert_array_equal(_term(prefixes=(1 / 6, 5 / 12, 1.0)), _term())


def test_one_prefix_is_the_squared_error():
    codes = sparse.dense(types.Codes(VALUES, INDICES, D_SAE))
    x_hat = codes @ PARAMS["w_dec"] + PARAMS["b_dec"][None]
    output = types.Output(x_hat=x_hat, codes=codes, pre=codes)
    expected = reconstruction.mse_sum(PARAMS, types.Batch(x=X), output, CONTEXT)
    np.testing.assert_allclose(_term(prefixes=(1.0,)), expected, rtol=1e-5)


def test_detached_an_error_moves_only_what_its_prefix_adds():
    def slope(detach):
        def loss(w_dec):
            return _term({**PARAMS, "w_dec": w_dec}, detach=detach, total="sum").sum()

        return np.asarray(jax.jit(jax.grad(loss))(PARAMS["w_dec"]))

    codes = np.asarray(sparse.dense(types.Codes(VALUES, INDICES, D_SAE)))
    w_dec, b_dec = np.asarray(PARAMS["w_dec"]), np.asarray(PARAMS["b_dec"])
    np.testing.assert_allclose(_term(detach=True), _term(), rtol=1e-6)
    expected, start = np.zeros((D_SAE, D_IN)), 0
    for end in ENDS:
        error = b_dec + codes[:, :end] @ w_dec[:end] - np.asarray(X)
        expected[start:end] = 2 * codes[:, start:end].T @ error
        start = end
    np.testing.assert_allclose(slope(True), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(slope(False) - expected).max() > 0.1


@pytest.mark.parametrize("prefixes", [(), (2, 5), (5, 2, 12), (0, 12), (2, 2, 12)])
def test_prefixes_that_do_not_grow_to_the_whole_are_refused(prefixes):
    with pytest.raises(errors.UserError, match="they must grow"):
        _term(prefixes=prefixes)


def test_each_prefix_has_its_weight():
    with pytest.raises(errors.UserError, match="2 weights for 3 prefixes"):
        _term(weights=(1.0, 2.0))


def _random(form="dense", params=PARAMS, values=VALUES, context=CONTEXT, **knobs):
    codes = types.Codes(values, INDICES, D_SAE)
    codes = sparse.dense(codes) if form == "dense" else codes
    output = types.Output(x_hat=X, codes=codes, pre=X)

    @jax.jit
    def term(params, output):
        return matryoshka.matryoshka_random(
            params, types.Batch(x=X), output, context, **{"prefixes": 4, "l1": 0.3, **knobs}
        )

    return term(params, output)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_random_prefixes_have_each_their_error_and_their_sparsity(form):
    ends = np.asarray(matryoshka._random_ends(CONTEXT.key, 4, 0.5, D_SAE))
    assert len(set(ends)) == 4
    assert ends[-1] == D_SAE
    codes = np.asarray(sparse.dense(types.Codes(VALUES, INDICES, D_SAE)), np.float64)
    w_dec, b_dec = np.asarray(PARAMS["w_dec"], np.float64), np.asarray(PARAMS["b_dec"])
    norms = np.linalg.norm(w_dec, axis=1)
    expected = np.zeros(BATCH)
    for end in ends:
        error = np.asarray(X) - b_dec - codes[:, :end] @ w_dec[:end]
        size = np.abs(codes[:, :end]) @ norms[:end]
        expected += ((error**2).sum(axis=1) + 0.3 * size) / 4
    np.testing.assert_allclose(_random(form), expected, rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 5, 12])
def test_random_prefixes_are_decoded_in_blocks_of_any_size(monkeypatch, blocks):
    expected = _random("sparse")
    monkeypatch.setattr(matryoshka, "_BLOCKS", blocks)
    np.testing.assert_allclose(_random("dense"), expected, rtol=1e-5)


def test_both_forms_have_the_same_gradient_with_random_prefixes():
    def slopes(form):
        def loss(params, values):
            return _random(form, params, values).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(PARAMS, VALUES)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        slopes("sparse"),
        slopes("dense"),
    )


def test_one_random_prefix_is_the_whole_dictionary():
    expected = _term(prefixes=(1.0,))
    np.testing.assert_allclose(_random(prefixes=1, l1=0.0), expected, rtol=1e-5)
    np.testing.assert_allclose(
        _random(prefixes=12, l1=0.0), _term(prefixes=range(1, 13)), rtol=1e-5
    )


def test_short_prefixes_are_the_likeliest():
    keys = jax.random.split(jax.random.key(0), 4000)
    ends = jax.jit(jax.vmap(lambda key: matryoshka._random_ends(key, 2, 0.5, 5)))(keys)
    found = np.bincount(np.asarray(ends[:, 0]), minlength=5)[1:] / len(keys)
    falling = np.sqrt([1, 2, 3, 4]) - np.sqrt([0, 1, 2, 3])
    np.testing.assert_allclose(found, falling / falling.sum(), atol=0.025)


@pytest.mark.parametrize("prefixes", [0, 13])
def test_as_many_random_prefixes_as_latents_at_most(prefixes):
    with pytest.raises(errors.UserError, match="1 at least, and no more than latents"):
        _random(prefixes=prefixes)
