import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model

from sae_jax import errors
from sae_jax.activations import sigmoid
from sae_jax.analysis import finetune
from sae_jax.data import base
from sae_jax.models import mlp, sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step

MODELS = {
    "sae": sae.Model(4, 12, sigmoid.Activation(), tied=True, output="sigmoid"),
    "mlp": mlp.Model(4, 4, 8, sigmoid.Activation(), hidden=(12,), nonlinearity="tanh"),
}
FAST = finetune.Settings(epochs=40, patience=40, batch_size=20, learning_rate=0.05)


def _corners(split, rows, noise=0.15):
    """Exclusive or: class 1 where one of the first two numbers is large, but not both."""
    rng = np.random.RandomState(rows)
    corner = rng.randint(0, 2, (rows, 2))
    x = np.concatenate([corner, rng.rand(rows, 2)], axis=1) + noise * rng.randn(rows, 4)
    label = (corner[:, 0] ^ corner[:, 1]).astype(np.int32)
    return base.Arrays(base.Spec("corners", split, (4,)), x.astype(np.float32), label)


SPLITS = finetune.Splits(_corners("train", 400), _corners("valid", 201), _corners("test", 307))


@functools.cache
def _trained(name):
    method = step.Method(
        model=MODELS[name],
        terms={},
        optimizer=optimizers.sgd(lambda step: 0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normalise.Mean(),
        dead_after=10,
    )
    mean = {"mean": jnp.asarray(SPLITS.train.x.mean(axis=0))}
    return method, jax.jit(lambda x: step.init(method, 0, mean, x))(jnp.asarray(SPLITS.train.x))


@pytest.mark.parametrize("name", MODELS)
def test_the_encoder_learns_what_a_softmax_layer_alone_cannot(name):
    method, state = _trained(name)
    before = jax.tree.map(np.asarray, state.params)
    found = finetune.run(method, state, SPLITS, FAST)
    assert found.test < 0.02
    jax.tree.map(np.testing.assert_array_equal, state.params, before)
    assert finetune.of_codes(SPLITS, FAST).test > 0.3


def test_a_softmax_layer_is_logistic_regression():
    rng = np.random.RandomState(0)
    x = rng.randn(400, 3).astype(np.float32)
    label = (x @ [1, -2, 0.5] + 1.5 * rng.randn(400)).round().clip(-1, 1).astype(np.int32) + 1
    data = base.Arrays(base.Spec("noisy", "train", (3,)), x, label)
    settings = finetune.Settings(epochs=300, patience=300, batch_size=400, learning_rate=0.05)
    found = finetune.of_codes(finetune.Splits(data, data, data), settings)
    expected = linear_model.LogisticRegression(C=np.inf, max_iter=5000).fit(x, label)
    error = 1 - expected.score(x, label)
    assert found.history[-1] == pytest.approx(error, abs=0.003)
    assert 0.2 < error < 0.6


def test_a_frozen_encoder_gives_its_codes_and_stays():
    method, state = _trained("sae")
    settings = dataclasses.replace(FAST, epochs=5, frozen=True)
    found = finetune.run(method, state, SPLITS, settings)

    def encoded(data):
        w_dec, mean = np.asarray(state.params["w_dec"]), np.asarray(state.normaliser["mean"])
        codes = 1 / (1 + np.exp(-(data.x - mean) @ w_dec.T))
        return base.Arrays(base.Spec("codes", "all", (12,)), codes, data.label)

    parts = [encoded(data) for data in (SPLITS.train, SPLITS.valid, SPLITS.test)]
    expected = finetune.of_codes(finetune.Splits(*parts), settings)
    np.testing.assert_allclose(found.history, expected.history, atol=0.01)
    assert found.test == pytest.approx(expected.test, abs=0.01)


def test_the_kept_epoch_is_the_first_with_the_lowest_validation_error():
    method, state = _trained("sae")
    found = finetune.run(method, state, SPLITS, FAST)
    assert len(found.history) == FAST.epochs
    assert found.valid == min(found.history)
    assert found.epoch == found.history.index(found.valid)
    short = dataclasses.replace(FAST, epochs=found.epoch + 1)
    assert finetune.run(method, state, SPLITS, short) == finetune.Result(
        found.test, found.valid, found.epoch, found.history[: found.epoch + 1]
    )
    other = finetune.run(method, state, SPLITS, short, seed=1)
    assert other.history != found.history[: found.epoch + 1]


def test_it_ends_when_patience_is_over():
    still = finetune.Settings(epochs=50, patience=3, learning_rate=0.0)
    found = finetune.of_codes(SPLITS, still)
    # Logits of 0: class 0 for every example.
    assert found.history == (float(SPLITS.valid.label.mean()),) * 4
    assert (found.epoch, found.test) == (0, pytest.approx(SPLITS.test.label.mean()))


def test_examples_without_labels_are_refused():
    bare = base.Arrays(base.Spec("bare", "test", (4,)), SPLITS.test.x)
    splits = finetune.Splits(SPLITS.train, SPLITS.valid, bare)
    with pytest.raises(errors.DataError, match=r"bare \(test\) has no labels"):
        finetune.run(*_trained("sae"), splits)
