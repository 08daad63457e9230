"""Terms that compare latents do it as the activation does, also where it sees them rescaled."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import jumprelu, topk
from sae_jax.losses import budgets, dead, jumps, reconstruction
from sae_jax.models import crosscoder, sae
from sae_jax.ops import sparse
from tests import jitted

RNG = np.random.default_rng(0)
D_IN, D_SAE = 4, 9
X = RNG.standard_normal((6, D_IN))
NORMS = np.linspace(0.2, 5, D_SAE)
ROWS = RNG.standard_normal((D_SAE, D_IN))
PARAMS = {
    "w_enc": RNG.standard_normal((D_IN, D_SAE)),
    "b_enc": RNG.standard_normal(D_SAE),
    "w_dec": NORMS[:, None] * ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True),
    "b_dec": RNG.standard_normal(D_IN),
}
THETA = np.linspace(0.1, 2, D_SAE)
PRE = (X - PARAMS["b_dec"]) @ PARAMS["w_enc"] + PARAMS["b_enc"]
BATCH = types.Batch(x=jnp.asarray(X, jnp.float32))
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), True)


def _float32(params):
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), params)


def _jump():
    model = sae.Model(D_IN, D_SAE, jumprelu.Activation(), rescale=True)
    params = _float32({**PARAMS, "activation": {"threshold": THETA}})
    stats = {"activation": {"factor": jnp.ones(())}}
    return params, jitted.forward(model, params, stats, BATCH.x, CONTEXT)[0]


def test_latents_above_their_thresholds_are_those_that_are_active():
    params, output = _jump()
    above = PRE * NORMS > THETA
    assert (above != (PRE > THETA)).any()
    np.testing.assert_array_equal(output.codes != 0, above)
    np.testing.assert_array_equal(jumps.l0(params, BATCH, output, CONTEXT), above.sum(axis=1))
    found = jumps.l0_target(params, BATCH, output, CONTEXT, target=3.0)
    np.testing.assert_allclose(found, (above.sum(axis=1).mean() / 3 - 1) ** 2, rtol=1e-6)
    found = jumps.frequency(params, BATCH, output, CONTEXT, limit=0.3)
    np.testing.assert_allclose(found, np.maximum(above.mean(axis=0) - 0.3, 0).sum(), rtol=1e-6)


def test_silent_latents_cost_what_they_would_have_to_write_more():
    params, output = _jump()
    expected = np.maximum(THETA - PRE * NORMS, 0).sum(axis=1)
    found = jumps.pre_activation(params, BATCH, output, CONTEXT)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("of", [sae, crosscoder])
def test_the_models_own_k_gives_its_own_error_and_a_budget_of_one_what_writes_most(
    of, form, monkeypatch
):
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: form == "sparse")
    knobs = {} if of is sae else dict(grid=(2, 2), norm="whole")
    activation = topk.Activation(k=3, relu=True, form=form)
    model = of.Model(D_IN, D_SAE, activation, rescale=True, **knobs)
    params = _float32({**PARAMS, "b_dec": 0 * PARAMS["b_dec"]})
    output = jitted.forward(model, params, {}, BATCH.x, CONTEXT)[0]
    expected = reconstruction.mse_sum(params, BATCH, output, CONTEXT)
    found = budgets.multi_topk(params, BATCH, output, CONTEXT, k=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)

    pre = X @ PARAMS["w_enc"] + PARAMS["b_enc"]
    most = (pre * NORMS).argmax(axis=1)
    assert (most != pre.argmax(axis=1)).any()
    written = np.maximum(pre, 0)[range(6), most][:, None] * PARAMS["w_dec"][most]
    found = budgets.hierarchical_topk(params, BATCH, output, CONTEXT, k=1)
    np.testing.assert_allclose(found, ((X - written) ** 2).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("blocks", [1, 3])
def test_dead_latents_that_help_are_those_that_would_write_most(blocks):
    silent = np.arange(D_SAE) < 6
    k = 2
    context = dataclasses.replace(CONTEXT, dead=jnp.asarray(silent))
    model = sae.Model(D_IN, D_SAE, topk.Activation(1, form="sparse"), rescale=True, blocks=blocks)
    params = _float32(PARAMS)
    output = jitted.forward(model, params, {}, BATCH.x, context)[0]
    score = np.where(silent, PRE * NORMS, -np.inf)
    chosen = score >= np.sort(score, axis=1)[:, [-k]]
    plain = np.where(silent, PRE, -np.inf)
    assert (chosen != (plain >= np.sort(plain, axis=1)[:, [-k]])).any()
    error = X - np.asarray(output.x_hat, np.float64)
    found = np.where(chosen, PRE, 0) @ PARAMS["w_dec"]
    expected = ((error - found) ** 2).sum(axis=1)
    term = dead.auxk(params, BATCH, output, context, k=k, normalise=False)
    np.testing.assert_allclose(term, expected, rtol=1e-4)


def test_a_step_that_revives_dead_latents_is_the_same_in_blocks():
    context = dataclasses.replace(CONTEXT, dead=jnp.arange(D_SAE) < 6)

    def slope(blocks):
        model = sae.Model(
            D_IN, D_SAE, topk.Activation(1, form="sparse"), rescale=True, blocks=blocks
        )

        def loss(params):
            output = jitted.forward(model, params, {}, BATCH.x, context)[0]
            return dead.auxk(params, BATCH, output, context, k=2).sum()

        return jax.jit(jax.grad(loss))(_float32(PARAMS))

    whole, blocks = slope(1), slope(3)
    assert np.abs(whole["w_enc"][:, :6]).sum() > 0
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), blocks, whole)
