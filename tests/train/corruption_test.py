"""Noise is a function of (seed, step) in training and of the row in evaluation, of nothing else."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import identity
from sae_jax.data import base
from sae_jax.losses import reconstruction
from sae_jax.metrics import mse, psnr
from sae_jax.models import sae
from sae_jax.ops import corrupt, normalise
from sae_jax.optim import optimizers
from sae_jax.train import evaluate, step

NOISE = corrupt.Corruption(functools.partial(corrupt.gaussian, sigma=0.5))
ROWS, WIDTH = 50, 8


def _x(rows=ROWS):
    return np.random.RandomState(0).rand(rows, WIDTH).astype(np.float32)


def _seen(params, batch, output, context):
    """A loss term that tells what the model was given: the sum of each example's squares."""
    return (batch.x**2).sum(axis=-1)


def _target(params, batch, output, context):
    return (batch.target**2).sum(axis=-1)


def _method(learning_rate=0.1, corruption=NOISE):
    return step.Method(
        model=sae.Model(WIDTH, 3, identity.Activation()),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "seen": step.Term(_seen, 0.0),
            "target": step.Term(_target, 0.0),
        },
        optimizer=optimizers.sgd(lambda step: learning_rate),
        project=lambda params: params,
        learning_rate=learning_rate,
        normaliser=normalise.Unchanged(),
        dead_after=10,
        corruption=corruption,
    )


@functools.cache
def _initialise():
    return jax.jit(lambda seed: step.init(_method(), seed, {}, jnp.asarray(_x())))


def _start(seed=0):
    return _initialise()(seed)


@functools.cache
def _take(learning_rate=0.1, corruption=NOISE):
    take = step.make(_method(learning_rate, corruption))
    return jax.jit(lambda state: take(state, types.Batch(x=jnp.asarray(_x()))))


def _steps(state, count, **method):
    """What each step on the same batch reports, and the state after them."""
    rows = []
    for _ in range(count):
        state, metrics = _take(**method)(state)
        rows.append(metrics)
    return rows, state


def test_training_noise_is_a_function_of_seed_and_step():
    rows, _ = _steps(_start(), 4)
    seen = [float(row["loss/seen"]) for row in rows]
    assert len(set(seen)) == 4
    other_parameters, _ = _steps(_start(), 4, learning_rate=0.01)
    assert [float(row["loss/seen"]) for row in other_parameters] == seen
    assert float(other_parameters[-1]["loss"]) != float(rows[-1]["loss"])
    other_seed, _ = _steps(_start(seed=1), 4)
    assert not {float(row["loss/seen"]) for row in other_seed} & set(seen)
    _, half = _steps(_start(), 2)
    resumed, _ = _steps(half, 2, learning_rate=0.01)
    assert [float(row["loss/seen"]) for row in resumed] == seen[2:]


def test_the_model_is_trained_towards_what_there_was_before_the_noise():
    rows, _ = _steps(_start(), 1)
    clean = (_x() ** 2).sum(axis=1).mean()
    assert float(rows[0]["loss/target"]) == pytest.approx(clean, rel=1e-6)
    # Noise of variance 1/4 adds 2 to the sum of 8 squares.
    assert float(rows[0]["loss/seen"]) == pytest.approx(clean + 2, abs=0.6)
    still, _ = _steps(_start(), 1, corruption=corrupt.Corruption())
    assert float(still[0]["loss/seen"]) == pytest.approx(clean, rel=1e-6)


def test_every_row_of_a_batch_has_noise_of_its_own():
    same = np.repeat(_x(1), 20, axis=0)
    keys = step._noise_keys(jax.random.key(0), 20)
    noisy = np.asarray(NOISE(keys, types.Batch(x=jnp.asarray(same))).x)
    assert len(np.unique(noisy)) == noisy.size


def _evaluation(batch_size, rows=ROWS):
    data = base.Arrays(base.Spec("toy", "test", (WIDTH,)), _x(rows))
    metrics = {
        name: evaluate.Metric(module.sums, module.finish)
        for name, module in {"mse": mse, "psnr": psnr}.items()
    }
    return evaluate.Evaluation(data, metrics, batch_size, NOISE)


def _mesh(data=1):
    return jax.make_mesh(
        (data, 1),
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[:data],
    )


def test_evaluation_noise_does_not_depend_on_batch_size_mesh_seed_or_step():
    state = _start()
    evaluator = evaluate.Evaluator(_method(), _mesh())

    def measure(state, batch_size, evaluator=evaluator):
        evaluation = _evaluation(batch_size)
        return evaluate.finish(evaluation, evaluator.totals(evaluation, state))

    expected = measure(state, ROWS)
    assert expected["psnr_input"] == pytest.approx(6.0, abs=1.0)
    assert measure(state, 7) == pytest.approx(expected, rel=1e-5)
    on_four = measure(state, 16, evaluate.Evaluator(_method(), _mesh(4)))
    assert on_four == pytest.approx(expected, rel=1e-5)
    later = dataclasses.replace(state, step=state.step + 100, key=jax.random.key(9))
    assert measure(later, ROWS) == pytest.approx(expected, rel=1e-6)


def test_evaluation_noise_is_that_of_the_row():
    whole = _evaluation(ROWS).first(ROWS)
    np.testing.assert_array_equal(whole.target, _x())
    np.testing.assert_array_equal(_evaluation(3).first(5).x, whole.x[:5])
    noise = np.asarray(whole.x) - _x()
    assert len(np.unique(noise)) == noise.size
    rows = np.asarray([40, 3, 3])
    found = _evaluation(3).batch({"x": jnp.asarray(_x()[rows])}, jnp.asarray(rows))
    np.testing.assert_allclose(found.x, np.asarray(whole.x)[rows], atol=1e-6)
