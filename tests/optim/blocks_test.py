"""A step of blocks of latents against one of all at once, and what it takes meanwhile."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax.models import sae
from sae_jax.optim import blocks, constraints, optimizers

D_IN, D_SAE = 6, 20
AXES = sae.LATENT_AXES


def _tree(seed, d_in=D_IN, d_sae=D_SAE):
    rng = np.random.default_rng(seed)
    shapes = dict(w_enc=(d_in, d_sae), w_dec=(d_sae, d_in), b_enc=(d_sae,), b_dec=(d_in,))
    return {name: jnp.asarray(rng.standard_normal(s), jnp.float32) for name, s in shapes.items()}


def _moved(optimizer, axes, steps=3):
    @jax.jit
    def move(grads, opt_state, params):
        norm = blocks.norm(grads, axes)
        return blocks.moved(optimizer, grads, norm, opt_state, params, axes)

    params = _tree(0)
    opt_state = optimizer.init(params)
    for seed in range(1, 1 + steps):
        params, opt_state = move(_tree(seed), opt_state, params)
    return params, opt_state


@pytest.mark.parametrize("latents", [1, 5, 6, 20])
@pytest.mark.parametrize(
    ("make", "knobs"),
    [
        (optimizers.adam, dict(clip_norm=1.0, average=0.9, weight_decay=0.1)),
        (optimizers.sgd, dict(momentum=0.9)),
        (optimizers.signum, dict(clip_norm=100.0)),
    ],
)
def test_it_moves_what_a_step_of_all_moves(make, knobs, latents, monkeypatch):
    link = constraints.unit_norm().link
    optimizer = make(lambda step: 0.1 / (1 + step), constraint=link, **knobs)
    expected = _moved(optimizer, {})
    monkeypatch.setattr(blocks, "_LARGE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", latents * D_IN * 4)
    found = _moved(optimizer, AXES)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_an_optimiser_that_mixes_latents_moves_them_at_once(monkeypatch):
    monkeypatch.setattr(blocks, "_LARGE", 0)
    optimizer = optimizers.muon(lambda step: 0.1)
    found, expected = _moved(optimizer, AXES), _moved(optimizer, {})
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_no_whole_matrix_is_written_down_in_between(kind, monkeypatch):
    d_in, d_sae = 64, 8192
    monkeypatch.setattr(blocks, "_LARGE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", 256 * d_in * 4)
    link = constraints.unit_norm().link
    optimizer = optimizers.adam(lambda step: 0.1, moments=kind, clip_norm=1.0, constraint=link)
    params = jax.eval_shape(lambda: _tree(0, d_in, d_sae))
    state = jax.eval_shape(optimizer.init, params)

    def step(params, state, grads):
        # As sparse codes make it: a row for each latent.
        grads = {**grads, "w_enc": grads["w_enc"].T}
        return blocks.moved(optimizer, grads, blocks.norm(grads, AXES), state, params, AXES)

    grads = {**params, "w_enc": params["w_dec"]}
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < d_in * d_sae * 4 / 2


def test_a_step_of_few_bits_in_blocks_is_close_to_adams(monkeypatch):
    expected = _moved(optimizers.adam(lambda step: 0.01), {})[0]
    monkeypatch.setattr(blocks, "_LARGE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", 5 * D_IN * 4)
    found = _moved(optimizers.adam(lambda step: 0.01, moments="int8"), AXES)[0]
    moves, wanted = (optax.tree.sub(params, _tree(0)) for params in (found, expected))
    assert optax.tree.norm(optax.tree.sub(moves, wanted)) < 0.1 * optax.tree.norm(wanted)
