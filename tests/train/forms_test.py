"""Each form of a step has the loss curve of the dense step in float32, AuxK and all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import abs_topk, batch_topk, jumprelu, relu, topk
from sae_jax.losses import dead, jumps, reconstruction, sparsity
from sae_jax.models import sae
from sae_jax.ops import factors, few, normalise
from sae_jax.optim import blocks as optim_blocks, constraints, optimizers
from sae_jax.train import step

SLOW = pytest.mark.slow  # What others of its kind show as well.
ROWS, D_IN, D_SAE, K, STEPS = 32, 16, 256, 4, 40


AUXK = {"auxk": step.Term(functools.partial(dead.auxk, k=8), 1 / 32)}


def _curve(activation, optimizer=optimizers.adam, knobs=None, terms=AUXK, parts=1, **fields):
    """Loss and share of dead latents at each step, on sums of few of 64 directions."""
    constraint = constraints.unit_norm()
    method = step.Method(
        model=sae.Model(D_IN, D_SAE, activation, **fields),
        terms={"mse_sum": step.Term(reconstruction.mse_sum, 1.0)} | terms,
        optimizer=optimizer(
            lambda step: 0.01, clip_norm=1.0, constraint=constraint.link, **knobs or {}
        ),
        project=constraint.project,
        learning_rate=0.01,
        normaliser=normalise.Unchanged(),
        dead_after=3 * ROWS,
        parts=parts,
        factored=True,  # Of large ones.
        latent_axes=sae.LATENT_AXES,
        stored=(knobs or {}).get("parameters", "float32"),
    )
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((64, D_IN))
    chosen = rng.random((STEPS, ROWS, 64)) * (rng.random((STEPS, ROWS, 64)) < 0.05)
    batches = jnp.asarray(chosen @ directions, jnp.float32)
    # Of like norms: BatchTopK's sparse form keeps at most 4 k latents of an example.
    batches = 4 * batches / jnp.maximum(jnp.linalg.norm(batches, axis=2, keepdims=True), 1e-3)
    state = jax.jit(lambda x: step.init(method, 0, {}, x))(batches[0])
    take = jax.jit(step.make(method))
    found = []
    for x in batches:
        state, metrics = take(state, types.Batch(x=x))
        found.append((metrics["loss"], metrics["dead"]))
    return np.asarray(found).T


DENSE = {
    "topk": topk.Activation(k=K, form="dense"),
    "abs_topk": abs_topk.Activation(k=K, form="dense"),
    "batch_topk": batch_topk.Activation(k=float(K), form="dense"),
}


@functools.cache
def _reference(name):
    loss, dead = _curve(DENSE[name])
    assert loss[-5:].mean() < 0.7 * loss[:5].mean()
    assert dead[0] == 0
    assert dead[-1] > 0, "AuxK had nothing to do"
    return loss, dead


@pytest.mark.parametrize(
    ("name", "form", "fields"),
    [
        ("topk", topk.Activation(k=K, form="sparse"), {}),
        ("abs_topk", abs_topk.Activation(k=K, form="sparse"), {}),
        ("batch_topk", batch_topk.Activation(k=float(K), form="sparse"), {}),
        ("topk", topk.Activation(k=K, form="sparse"), dict(blocks=4)),
        pytest.param(
            "abs_topk", abs_topk.Activation(k=K, form="sparse"), dict(blocks=4), marks=SLOW
        ),
    ],
    ids=["topk", "abs_topk", "batch_topk", "topk in blocks", "abs_topk in blocks"],
)
def test_the_curve_is_that_of_the_dense_form_to_rounding(name, form, fields):
    (loss, dead), (wanted, wanted_dead) = _curve(form, **fields), _reference(name)
    np.testing.assert_allclose(loss, wanted, rtol=1e-3)
    np.testing.assert_array_equal(dead, wanted_dead)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rescale", [False, True])
def test_the_curve_is_the_same_without_gradients_of_the_size_of_matrices(
    rescale, parts, monkeypatch
):
    form = topk.Activation(k=K, form="sparse")
    wanted, wanted_dead = _curve(form, blocks=4, rescale=rescale, parts=parts)
    assert wanted_dead[-1] > 0, "AuxK had nothing to do"
    monkeypatch.setattr(optim_blocks, "_LARGE", 0)
    monkeypatch.setattr(optim_blocks, "_BLOCK", 40 * D_IN * 4)
    monkeypatch.setattr(optim_blocks, "_FACTORED", 0)
    sorted_ones, sort = [], factors.sort
    monkeypatch.setattr(factors, "sort", lambda grad: sorted_ones.append(grad) or sort(grad))
    loss, dead = _curve(form, blocks=4, rescale=rescale, parts=parts)
    assert [len(grad.uses) for grad in sorted_ones] == [2, 2], "codes and AuxK, of both matrices"
    np.testing.assert_allclose(loss, wanted, rtol=1e-4)
    np.testing.assert_array_equal(dead, wanted_dead)


@pytest.mark.parametrize(
    ("changes", "within"),
    [
        (dict(compute="bfloat16"), 0.03),
        (dict(knobs=dict(moments="bfloat16")), 0.03),
        pytest.param(dict(knobs=dict(moments="int8")), 0.1, marks=SLOW),
        pytest.param(dict(knobs=dict(parameters="bfloat16")), 0.1, marks=SLOW),
        (dict(knobs=dict(parameters="bfloat16", moments="int8"), blocks=4), 0.1),
    ],
    ids=[
        *("bfloat16 operands", "bfloat16 moments", "int8 moments"),
        *("bfloat16 parameters", "few bits of everything, in blocks"),
    ],
)
def test_with_fewer_bits_the_curve_is_close(changes, within):
    loss, _ = _curve(topk.Activation(k=K, form="sparse"), **changes)
    wanted, _ = _reference("topk")
    # Of ten steps each: of single ones another latent chosen here or there makes more.
    for first in range(0, STEPS, 10):
        part = slice(first, first + 10)
        assert loss[part].mean() == pytest.approx(wanted[part].mean(), rel=within)


@pytest.mark.parametrize(
    ("activation", "terms"),
    [
        pytest.param(relu.Activation(), {"l1": step.Term(sparsity.l1, 2.0)}, marks=SLOW),
        (relu.Activation(), {"l1": step.Term(sparsity.l1, 2.0)} | AUXK),
        (
            jumprelu.Activation(start=0.8, bandwidth=0.2),
            {"l0": step.Term(functools.partial(jumps.l0, bandwidth=0.2), 0.05)},
        ),
    ],
    ids=["relu", "relu with auxk", "jumprelu"],
)
@pytest.mark.parametrize("rescale", [False, True])
def test_the_curve_is_the_same_when_few_latents_turn_out_active(
    activation, terms, rescale, monkeypatch
):
    wanted, wanted_dead = _curve(activation, terms=terms, rescale=rescale)
    monkeypatch.setattr(few, "_LEAST", D_SAE)
    monkeypatch.setattr(few, "_SHARE", 4)
    fitted, find = [], few.find

    def noting(margin):
        found = find(margin)
        jax.debug.callback(lambda fits: fitted.append(bool(fits)), found.fits)
        return found

    monkeypatch.setattr(few, "find", noting)
    loss, dead = _curve(activation, terms=terms, rescale=rescale)
    jax.effects_barrier()
    assert len(fitted) == STEPS
    assert 0 < sum(fitted) < STEPS, "both forms have to be taken, at different steps"
    np.testing.assert_allclose(loss, wanted, rtol=1e-3)
    np.testing.assert_array_equal(dead, wanted_dead)
