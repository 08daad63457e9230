"""AuxK against NumPy, in each point that implementations have got wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.losses import dead
from sae_jax.ops import linear, sparse

RNG = np.random.default_rng(0)
BATCH, D_IN, D_SAE, K = 6, 4, 9, 2
X, X_HAT = (RNG.standard_normal((BATCH, D_IN)) for _ in range(2))
W_ENC, W_DEC = RNG.standard_normal((D_IN, D_SAE)), RNG.standard_normal((D_SAE, D_IN))
B_ENC, B_DEC = RNG.standard_normal(D_SAE), RNG.standard_normal(D_IN)
MASK = np.asarray([1.0, 1, 1, 1, 1, 0])
DEAD = np.asarray([0, 1, 0, 1, 1, 0, 0, 1, 0], bool)
PARAMS = {
    name: jnp.asarray(value, jnp.float32)
    for name, value in dict(w_enc=W_ENC, w_dec=W_DEC, b_enc=B_ENC, b_dec=B_DEC).items()
}
BATCHED = types.Batch(x=jnp.asarray(X, jnp.float32), mask=jnp.asarray(MASK, jnp.float32))


def _term(params=PARAMS, is_dead=DEAD, x_hat=X_HAT, **knobs):
    centre = jnp.zeros(D_IN)
    parts = (BATCHED.x, centre, params["w_enc"], params["b_enc"])
    pre = types.Pre(linear.encode(*parts), *parts)
    output = types.Output(x_hat=jnp.asarray(x_hat, jnp.float32), codes=pre.dense, pre=pre)
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.asarray(is_dead), train=True
    )
    return dead.auxk(params, BATCHED, output, context, **knobs)


def _by_hand(k=K, relu=False, normalise=True):
    pre, error = X @ W_ENC + B_ENC, X - X_HAT
    found = np.zeros((BATCH, D_IN))
    for b in range(BATCH):
        ranked = sorted(np.flatnonzero(DEAD), key=lambda i: -pre[b, i])[:k]
        for i in ranked:
            found[b] += (max(pre[b, i], 0) if relu else pre[b, i]) * W_DEC[i]
    real = error[MASK > 0]
    spread = ((real - real.mean(axis=0)) ** 2).sum() / len(real)
    share = min(DEAD.sum() / k, 1)
    size = ((error * MASK[:, None] - found) ** 2).sum(axis=1)
    return share * size / (spread if normalise else 1)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_it_is_the_formula(form, relu, k, monkeypatch):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    found = np.asarray(_term(k=k, relu=relu))
    np.testing.assert_allclose(found[:5], _by_hand(k, relu)[:5], rtol=1e-4)


def test_it_may_be_left_in_squared_units():
    found = np.asarray(_term(k=3, normalise=False))
    np.testing.assert_allclose(found[:5], _by_hand(3, normalise=False)[:5], rtol=1e-4)


def test_half_of_d_in_is_the_usual_k():
    np.testing.assert_array_equal(_term(), _term(k=D_IN // 2))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_dead_latents_learn_and_nothing_else_does(form, monkeypatch):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    grads = jax.jit(jax.grad(lambda params: (_term(params, k=K) * BATCHED.mask).sum()))(PARAMS)
    pre = X @ W_ENC + B_ENC
    chosen = np.zeros(D_SAE, bool)
    for b in range(5):
        chosen[sorted(np.flatnonzero(DEAD), key=lambda i: -pre[b, i])[:K]] = True
    assert (np.abs(grads["w_enc"]).max(axis=0) > 0).tolist() == chosen.tolist()
    assert (np.abs(grads["w_dec"]).max(axis=1) > 0).tolist() == chosen.tolist()
    assert (np.abs(grads["b_enc"]) > 0).tolist() == chosen.tolist()
    np.testing.assert_array_equal(grads["b_dec"], 0)


def test_a_latent_that_is_negative_everywhere_has_a_gradient():
    params = {**PARAMS, "b_enc": PARAMS["b_enc"] - 100}
    grads = jax.jit(jax.grad(lambda params: _term(params, k=K).sum()))(params)
    assert np.abs(grads["w_enc"]).max() > 0
    with_relu = jax.jit(jax.grad(lambda params: _term(params, k=K, relu=True).sum()))(params)
    np.testing.assert_array_equal(with_relu["w_enc"], 0)


def test_the_error_itself_gets_no_gradient():
    slope = jax.jit(jax.grad(lambda x_hat: _term(x_hat=x_hat, k=K).sum()))(
        jnp.asarray(X_HAT, jnp.float32)
    )
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("case", ["none is dead", "nothing is left over"])
def test_it_is_zero_and_finite_where_there_is_nothing_to_do(case):
    given = dict(is_dead=np.zeros(D_SAE, bool)) if case == "none is dead" else dict(x_hat=X)
    value, grads = jax.jit(jax.value_and_grad(lambda params: _term(params, k=K, **given).sum()))(
        PARAMS
    )
    assert value == 0
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads)


def _ghost(params=PARAMS, is_dead=DEAD, x_hat=X_HAT):
    pre = jnp.asarray(X @ W_ENC, jnp.float32) + params["b_enc"][None]
    output = types.Output(x_hat=jnp.asarray(x_hat, jnp.float32), codes=pre, pre=pre)
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.asarray(is_dead), train=True
    )
    return dead.ghost(params, BATCHED, output, context)


def test_a_ghost_is_as_large_as_the_error():
    found = np.asarray(_ghost())
    np.testing.assert_allclose(found[:5], ((X - X_HAT) ** 2).sum(axis=1)[:5], rtol=1e-4)
    assert found[5] == 0


def test_a_ghost_gives_dead_latents_the_gradient_of_the_formula():
    """In float64 by finite differences of `||e - s exp(pre) w_dec||^2`, s and the scale held."""
    error = (X - X_HAT) * MASK[:, None]

    def found_by(w_dec, b_enc):
        return (np.exp(X @ W_ENC + b_enc) * DEAD) @ w_dec

    start = found_by(W_DEC, B_ENC)
    s = np.linalg.norm(error, axis=1) / (2 * np.linalg.norm(start, axis=1))
    missed = ((error - s[:, None] * start) ** 2).sum(axis=1)
    scale = (error**2).sum(axis=1) / (missed + 1e-6)

    def by_hand(w_dec, b_enc):
        return (scale * ((error - s[:, None] * found_by(w_dec, b_enc)) ** 2).sum(axis=1)).sum()

    grads = jax.jit(jax.grad(lambda params: _ghost(params).sum()))(PARAMS)
    for name, place in (("w_dec", (1, 2)), ("w_dec", (0, 1)), ("b_enc", (4,)), ("b_enc", (2,))):
        given = {"w_dec": W_DEC, "b_enc": B_ENC}
        nudge = np.zeros_like(given[name])
        nudge[place] = 1e-6
        up, down = (by_hand(**{**given, name: given[name] + sign * nudge}) for sign in (1, -1))
        np.testing.assert_allclose(grads[name][place], (up - down) / 2e-6, rtol=1e-3, atol=1e-5)
        assert (grads[name][place] != 0) == DEAD[place[0]]
    np.testing.assert_array_equal(grads["b_dec"], 0)


@pytest.mark.parametrize("case", ["none is dead", "nothing is left over"])
def test_a_ghost_is_zero_and_finite_where_there_is_nothing_to_do(case):
    given = dict(is_dead=np.zeros(D_SAE, bool)) if case == "none is dead" else dict(x_hat=X)
    value, grads = jax.jit(jax.value_and_grad(lambda params: _ghost(params, **given).sum()))(PARAMS)
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_where_nothing_is_trained_no_latent_is_dead():
    np.testing.assert_array_equal(_term(is_dead=np.zeros((), bool)), np.zeros(BATCH))
