"""Folded weights read raw data and give the codes and reconstructions of the model itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import errors, types
from sae_jax.activations import relu
from sae_jax.analysis import fold
from sae_jax.models import mlp, sae
from sae_jax.ops import normalise
from sae_jax.train import step

X = (3 + np.random.RandomState(0).randn(64, 6) @ np.random.RandomState(1).randn(6, 6)).astype(
    np.float32
)


def _trained(normaliser, model=None, **fields):
    method = step.Method(
        model=model or sae.Model(6, 10, relu.Activation(), **fields),
        terms={},
        optimizer=optax.sgd(0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normaliser,
        dead_after=100,
    )
    fitted = {name: jnp.asarray(value) for name, value in normaliser.fit(lambda: [X]).items()}
    state = step.init(method, 0, fitted, jnp.asarray(X))
    noise = np.random.RandomState(2)
    moved = jax.tree.map(
        lambda value: value + jnp.asarray(0.1 * noise.randn(*value.shape), jnp.float32),
        state.params,
    )
    return method, dataclasses.replace(state, params=moved)


@pytest.mark.parametrize(
    "fields",
    [{}, dict(pre_bias=False), dict(tied=True), dict(aligned=True), dict(encoder_bias=False)],
    ids=str,
)
@pytest.mark.parametrize(
    "normaliser",
    [
        normalise.Unchanged(),
        normalise.Mean(),
        normalise.MeanNorm(centre=True),
        normalise.Whiten(epsilon=0.01),
    ],
    ids=lambda normaliser: type(normaliser).__name__,
)
def test_codes_and_reconstruction_are_those_of_the_model(normaliser, fields):
    method, state = _trained(normaliser, **fields)
    expected = step.reconstruct(method, state, types.Batch(jnp.asarray(X)))
    weights = fold.fold(method, state)
    codes = np.maximum(X @ weights.w_enc + weights.b_enc, 0)
    np.testing.assert_allclose(codes, expected.codes, atol=2e-5)
    np.testing.assert_allclose(codes @ weights.w_dec + weights.b_dec, expected.x_hat, atol=1e-4)


def test_a_scale_for_each_example_cannot_be_folded():
    with pytest.raises(errors.UserError, match="from each example"):
        fold.fold(*_trained(normalise.Example()))


def test_codes_that_depend_on_norms_of_rows_cannot_be_folded():
    with pytest.raises(errors.UserError, match="rescale"):
        fold.fold(*_trained(normalise.Mean(), rescale=True))


def test_a_deeper_model_cannot_be_folded():
    model = mlp.Model(d_in=6, d_sae=10, d_out=6, activation=relu.Activation(), hidden=(4,))
    with pytest.raises(errors.UserError, match="linear encoder"):
        fold.fold(*_trained(normalise.Unchanged(), model))
