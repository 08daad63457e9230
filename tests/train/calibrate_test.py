"""Thresholds after training: as many latents are active on held-out examples as was asked for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.papers import sparse_but_wrong
from experiments import build
from sae_jax import errors
from sae_jax.activations import batch_topk, jumprelu, relu
from sae_jax.data import sparse_but_wrong as world
from sae_jax.train import calibrate, evaluate, feed, loop, step

TARGET = 11.0


def _task(**activation):
    config = sparse_but_wrong.get_config("debug")
    config.model.activation = activation
    config.num_steps = 200
    config.data.split = "train"
    return build.task(config)


def _trained(task):
    state = loop.initialise(task, loop.template(task))
    source = feed.make(task.data, task.mesh, 64, 0, 200)
    run = loop.program(task, source, state)
    return run(state, source.payload(0, 200, 200), 0, 200)[0]


def _l0(task, state, data):
    evaluation = dataclasses.replace(task.evaluations["test"], data=data)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    return evaluate.finish(evaluation, evaluator.totals(evaluation, state))["l0"]


@pytest.mark.parametrize(
    "activation",
    [dict(name="batch_topk", k=11.0), dict(name="jumprelu", start=0.05, bandwidth=0.1)],
    ids=lambda activation: activation["name"],
)
@pytest.mark.slow
def test_l0_on_other_examples_is_within_two_per_cent_of_the_target(activation):
    task = _task(**activation)
    state = _trained(task)
    calibration = calibrate.Calibration(TARGET, world.load("valid[:2000]"))
    after = calibrate.thresholds(task.method, state, calibration, task.mesh)
    assert _l0(task, after, calibration.data) == pytest.approx(TARGET, rel=1e-3)
    others = world.load("test[:8000]")
    assert abs(_l0(task, state, others) / TARGET - 1) > 0.02
    assert _l0(task, after, others) == pytest.approx(TARGET, rel=0.02)
    np.testing.assert_array_equal(after.params["w_enc"], state.params["w_enc"])


def test_at_rest_thresholds_move_by_one_factor():
    pre = jnp.asarray([[5.0, 7.0, 9.0]])
    context = step._context_at_rest(jax.random.key(0))

    jump = jumprelu.JumpReLU()
    learned = {"threshold": jnp.asarray([0.0, 2.0, 4.0])}
    stats = jump.raised({"factor": jnp.asarray(1.0)}, 3.0)
    assert jump.apply({"params": learned, "stats": stats}, pre, context).tolist() == [[5, 7, 0]]
    training = context.replace(train=True)
    codes = jump.apply({"params": learned, "stats": stats}, pre, training)
    assert codes.tolist() == [[5, 7, 9]]

    batch = batch_topk.BatchTopK(1)
    stats = batch.raised({"sum": jnp.asarray(0.5), "weight": jnp.asarray(0.25)}, 3.0)
    assert batch.apply({"stats": stats}, pre, context).tolist() == [[0, 7, 9]]


def test_a_model_without_thresholds_is_told_so():
    task = _task(name="relu")
    assert task.method.model.activation == relu.Activation()
    calibration = calibrate.Calibration(TARGET, world.load("valid[:100]"))
    state = loop.initialise(task, loop.template(task))
    with pytest.raises(errors.UserError, match="has no thresholds"):
        calibrate.thresholds(task.method, state, calibration, task.mesh)


def test_an_l0_out_of_reach_is_told():
    task = _task(name="jumprelu", start=0.0)
    state = loop.initialise(task, loop.template(task))
    calibration = calibrate.Calibration(1.0, world.load("valid[:100]"))
    with pytest.raises(errors.UserError, match="no threshold gives an L0 of 1, the nearest is"):
        calibrate.thresholds(task.method, state, calibration, task.mesh)


def test_a_run_ends_with_calibrated_thresholds():
    config = sparse_but_wrong.get_config("debug")
    config.calibration = dict(name="l0", l0=8.0, split="valid[:2000]", batch_size=500)
    task = build.task(config)
    assert task.calibration == calibrate.Calibration(8.0, task.calibration.data, 500)
    assert task.calibration.data.length == 2000


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (dict(name="l0", l0=5.0), "config.calibration lacks split"),
        (dict(name="l0", split="valid"), "config.calibration lacks l0"),
        (dict(name="l0", l0=0.0, split="valid"), "l0=0.0: it must be above 0"),
        (dict(name="l1"), 'there is no "l1"'),
        (dict(name="none", l0=3.0), 'has no "l0"'),
    ],
)
def test_a_wrong_calibration_is_told(group, said):
    config = sparse_but_wrong.get_config("debug")
    config.calibration = group
    with pytest.raises(errors.UserError, match=said):
        build.task(config)
