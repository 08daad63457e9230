"""Parameters in bfloat16: small steps add up, and every model trains with them as with float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import types
from sae_jax.ops import sparse
from sae_jax.optim import optimizers, parameters
from sae_jax.train import step
from tests import variants
from tests.contracts import models_test as models


def test_steps_far_below_the_distance_of_neighbours_add_up():
    rate, steps, start = 1e-4, 2000, 1.0  # Neighbours of 1 are 1/256 and 1/128 away.
    optimizer = parameters.stored_as("bfloat16", optax.sgd(rate))
    params = {"w": jnp.full((64, 64), start, jnp.bfloat16), "b": jnp.ones(3)}
    grads = jax.tree.map(jnp.ones_like, params)

    def move(_, carry):
        params, state = carry
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, _ = jax.lax.fori_loop(0, steps, move, (params, optimizer.init(params)))
    assert params["w"].dtype == jnp.bfloat16
    moved = start - np.asarray(params["w"], np.float64)
    sd = np.sqrt(steps * rate / 256)  # Of a walk whose steps are 1/256 with a chance of 256 rate.
    assert abs(moved.mean() - steps * rate) < 5 * sd / 64
    assert 0.5 * sd < moved.std() < 1.5 * sd
    np.testing.assert_allclose(params["b"], 1 - steps * rate, rtol=1e-4)


def test_an_update_leads_to_one_of_the_two_neighbours():
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.standard_normal((100, 50)), jnp.bfloat16)}
    updates = {"w": jnp.asarray(rng.standard_normal((100, 50)) * 10.0 ** rng.integers(-6, 3))}
    optimizer = parameters.stored_as("bfloat16", optax.identity())
    found, _ = jax.jit(optimizer.update)(updates, optimizer.init(params), params)
    moved = optax.apply_updates(params, found)["w"]
    exact = np.asarray(params["w"], np.float32) + np.asarray(updates["w"], np.float32)
    off = np.abs(np.asarray(moved, np.float64) - exact)
    assert (off <= np.abs(exact) / 128).all()
    np.testing.assert_array_equal(moved.astype(jnp.float32), found["w"] + params["w"])


def test_float32_changes_nothing():
    chain = optax.sgd(0.1)
    assert parameters.stored_as("float32", chain) is chain
    with pytest.raises(ValueError, match="float16"):
        parameters.stored_as("float16", chain)


def _narrow(method):
    adam = optimizers.adam(lambda step: 3e-3, parameters="bfloat16")
    return dataclasses.replace(method, optimizer=adam, stored="bfloat16")


def _of_each_model():
    first = {}
    for variant, activation in variants.cases():
        first.setdefault(variant, activation)
    return first.items()


@pytest.mark.parametrize(("variant", "activation"), _of_each_model())
def test_a_step_of_any_model_keeps_the_type_of_each_parameter(variant, activation):
    method, x = _narrow(models._method(variant, activation)), models._x()

    def stepped():
        state = step.init(method, 0, method.normaliser.fit(lambda: [x]), x)
        moved, _ = step.make(method)(state, types.Batch(x=x))
        return state, moved, step.at_rest(method, moved)

    state, moved, rested = jax.eval_shape(stepped)
    assert jax.tree.map(_kind, moved) == jax.tree.map(_kind, state)
    for leaf in jax.tree.leaves(moved.params):
        assert leaf.dtype == (jnp.bfloat16 if leaf.ndim > 1 else jnp.float32)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rested.params))


def _kind(leaf):
    return leaf.shape, leaf.dtype


@pytest.mark.parametrize(
    ("variant", "activation"),
    [
        ("sae", "topk_sparse"),
        pytest.param("sae", "relu", marks=pytest.mark.slow),  # With fewer ways to differ.
        ("switch", None),
        ("conv", "relu"),
    ],
)
def test_models_learn_as_with_float32(variant, activation):
    plain = models._method(variant, activation)
    curves = []
    for method in (plain, _narrow(plain)):
        losses, _ = models._run(method, models._started(method), models._mesh(1, 1), 15)
        curves.append(losses)
    wide, narrow = curves
    assert narrow[-1] < 0.9 * narrow[0]
    np.testing.assert_allclose(narrow, wide, rtol=0.1)


def test_gradients_of_sparse_codes_are_rounded_once_after_they_are_summed():
    rng = np.random.default_rng(1)
    values, x = (jnp.asarray(rng.standard_normal((512, d)), jnp.float32) for d in (4, 6))
    indices = jnp.asarray(rng.permuted(np.tile(np.arange(8), (512, 1)), axis=1)[:, :4], jnp.int32)
    w_dec = jnp.asarray(rng.standard_normal((8, 6)), jnp.bfloat16)  # 256 examples add to each row.

    def loss(w_enc, w_dec):
        centre, bias = jnp.zeros(6), jnp.zeros(8)
        known = sparse.known(values, indices, x, centre, w_enc, bias)
        return (sparse.decode(known, indices, w_dec) * x).sum()

    slopes = jax.jit(jax.grad(loss, (0, 1)))
    found = slopes(w_dec.T, w_dec)
    wide = slopes(*(w.astype(jnp.float32) for w in (w_dec.T, w_dec)))
    for narrow, exact in zip(found, wide, strict=True):
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_allclose(narrow.astype(jnp.float32), exact, rtol=1 / 256)
