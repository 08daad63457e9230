"""A batch cut into parts: the same gradient, numbers and stats as in one pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import batch_topk, relu
from sae_jax.losses import reconstruction, sparsity
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step

ROWS, D_IN, D_SAE = 12, 5, 16


def _method(parts):
    return step.Method(
        model=sae.Model(D_IN, D_SAE, relu.Activation()),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "mse_normalised": step.Term(reconstruction.mse_normalised, 1.0),
            "l1": step.Term(sparsity.l1, 0.5),
        },
        optimizer=optimizers.sgd(lambda step: 0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normalise.Unchanged(),
        dead_after=20,
        parts=parts,
    )


def _after(parts, mask=None):
    x = jnp.asarray(np.random.RandomState(0).randn(ROWS, D_IN), jnp.float32)
    batch = types.Batch(x=x, mask=mask)
    state = step.init(_method(1), 0, {}, x)
    return jax.device_get(jax.jit(step.make(_method(parts)))(state, batch))


@pytest.mark.parametrize("parts", [2, 3, 12])
@pytest.mark.parametrize("mask", [None, jnp.asarray([1.0] * 7 + [0.0] * 5)], ids=["full", "padded"])
def test_a_batch_in_parts_makes_the_same_step(parts, mask):
    if mask is not None and parts == 12:
        pytest.skip("a part that is all padding has no mean")
    (whole, expected), (cut, found) = _after(1, mask), _after(parts, mask)
    for name, value in whole.params.items():
        np.testing.assert_allclose(cut.params[name], value, atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(cut.idle, whole.idle)
    assert {n: float(v) for n, v in found.items()} == pytest.approx(
        {n: float(v) for n, v in expected.items()}, rel=1e-5
    )


def test_a_running_threshold_moves_once_in_a_step():
    x = jnp.asarray(np.random.RandomState(0).randn(ROWS, D_IN), jnp.float32)
    model = sae.Model(D_IN, D_SAE, batch_topk.Activation(2.0))
    moved = []
    for parts in (1, 3):
        method = dataclasses.replace(_method(parts), model=model)
        state = step.init(method, 0, {}, x)
        after, _ = jax.jit(step.make(method))(state, types.Batch(x=x))
        moved.append(after.stats["activation"])
    whole, cut = moved
    assert float(cut["weight"]) == pytest.approx(float(whole["weight"]))
    least = []  # Of the active latents of each part, which are every third row.
    for first in range(3):
        pre = np.sort(np.maximum(_pre(model, x[first::3]), 0).ravel())
        least.append(pre[-2 * ROWS // 3])
    assert float(cut["sum"]) / float(cut["weight"]) == pytest.approx(np.mean(least), rel=1e-5)


def _pre(model, x):
    method = dataclasses.replace(_method(1), model=model)
    state = step.init(method, 0, {}, jnp.asarray(np.random.RandomState(0).randn(ROWS, D_IN), "f4"))
    params = jax.device_get(state.params)
    return (np.asarray(x) - params["b_dec"]) @ params["w_enc"] + params["b_enc"]
