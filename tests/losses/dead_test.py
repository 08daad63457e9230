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


def _by_hand(k=K, relu=False):
    pre, error = X @ W_ENC + B_ENC, X - X_HAT
    found = np.zeros((BATCH, D_IN))
    for b in range(BATCH):
        ranked = sorted(np.flatnonzero(DEAD), key=lambda i: -pre[b, i])[:k]
        for i in ranked:
            found[b] += (max(pre[b, i], 0) if relu else pre[b, i]) * W_DEC[i]
    real = error[MASK > 0]
    spread = ((real - real.mean(axis=0)) ** 2).sum() / len(real)
    share = min(DEAD.sum() / k, 1)
    return share * ((error * MASK[:, None] - found) ** 2).sum(axis=1) / spread


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_it_is_the_formula(form, relu, k, monkeypatch):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    found = np.asarray(_term(k=k, relu=relu))
    np.testing.assert_allclose(found[:5], _by_hand(k, relu)[:5], rtol=1e-4)


def test_half_of_d_in_is_the_usual_k():
    np.testing.assert_array_equal(_term(), _term(k=D_IN // 2))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_dead_latents_learn_and_nothing_else_does(form, monkeypatch):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    grads = jax.grad(lambda params: (_term(params, k=K) * BATCHED.mask).sum())(PARAMS)
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
    grads = jax.grad(lambda params: _term(params, k=K).sum())(params)
    assert np.abs(grads["w_enc"]).max() > 0
    with_relu = jax.grad(lambda params: _term(params, k=K, relu=True).sum())(params)
    np.testing.assert_array_equal(with_relu["w_enc"], 0)


def test_the_error_itself_gets_no_gradient():
    slope = jax.grad(lambda x_hat: _term(x_hat=x_hat, k=K).sum())(jnp.asarray(X_HAT, jnp.float32))
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("case", ["none is dead", "nothing is left over"])
def test_it_is_zero_and_finite_where_there_is_nothing_to_do(case):
    given = dict(is_dead=np.zeros(D_SAE, bool)) if case == "none is dead" else dict(x_hat=X)
    value, grads = jax.value_and_grad(lambda params: _term(params, k=K, **given).sum())(PARAMS)
    assert value == 0
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads)


def test_where_nothing_is_trained_no_latent_is_dead():
    np.testing.assert_array_equal(_term(is_dead=np.zeros((), bool)), np.zeros(BATCH))
