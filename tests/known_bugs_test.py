"""Bugs that libraries of this kind have shipped, none of them ours.

Each test states as a fact what such a bug would break. Names and numbers are of public issues and
sources; no number: read in the source, or run. What other tests hold already:

  AuxK counts b_dec twice (sparsify #132, saev), moves its own residual (SAELens #432), takes alive
    latents (overcomplete), takes as many as suit d_sae (SAELens #432), never sees a latent that is
    negative everywhere (sparsify, dictionary_learning): losses/dead_test.py
  a term is weighed twice (dictionary_learning #34), a warm-up does nothing (saev):
    train/step_test.py
  the gated auxiliary error trains the decoder (SAELens): models/gated_test.py
  Matryoshka adds b_dec for every prefix: losses/matryoshka_test.py
  L0 is penalised for each example instead of on average: losses/jumps_test.py
  JumpReLU's window is cut in half (dictionary_learning #55), thresholds are equalled, not exceeded:
    ops/threshold_test.py
  thresholds fall below 0, or are learned as logarithms (SAELens #718): optim/constraints_test.py
  BatchTopK's threshold starts at 0, moves where nothing is selected (saev), k counts a batch
    instead of an example (overcomplete): activations/batch_topk_test.py
  L0 at rest is not k (dictionary_learning #29, #31): train/calibrate_test.py
  the projected gradient is no longer tangent after Adam (e2e_sae #44), norms are those of columns:
    optim/constraints_test.py
  a geometric median that is the mean (llamascopium): ops/geometry_test.py; b_dec starts at that of
    data in another scale (SAELens #439): train/step_test.py
  directions cover one orthant (SAELens #474), an encoder that starts as a view (saev):
    models/sae_test.py
  resampling along the wrong axis (ai-safety-foundation #141), moments that are kept (saex):
    optim/remedies_test.py
  parts of a batch shrink gradient and loss (sparsify), or their dead latents: train/parts_test.py
  counters of dead latents count steps, padding, or one device's examples: train/step_test.py,
    contracts/models_test.py
  explained variance is a mean of ratios (SAELens #443, #659, #710), forgets the mean (saev), is of
    the wrong scale (SAELens #518): metrics/metrics_test.py, train/evaluate_test.py,
    ops/normalise_test.py; the error is divided by examples twice (SAELens #711): metrics_test.py
  folding forgets b_dec or w_dec (SAELens #354, #212): analysis/fold_test.py
  a transcoder subtracts b_dec from its input (SAELens #516): models/transcoder_test.py
  neighbours stay neighbours, shuffling is lost on several devices (llamascopium):
    ops/permute_test.py, data/base_test.py, train/feed_test.py
  a run goes on with the first row (SAELens), with one device's moments (sparsify): end_to_end/
  the default config cannot run (SAELens), a misspelt key is passed over: contracts/configs_test.py
  an evaluator remembers an old dictionary (overcomplete): train/evaluate_test.py
"""

import ast
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

from configs.papers import sparse_but_wrong
from experiments import build
from sae_jax import mesh as meshes, types
from sae_jax.activations import batch_topk, jumprelu, relu, topk
from sae_jax.analysis import fold
from sae_jax.data import base
from sae_jax.losses import budgets, dead, matryoshka, reconstruction
from sae_jax.metrics import density, l0
from sae_jax.models import gated, sae
from sae_jax.ops import corrupt, geometry, normalise, schedule, sparse
from sae_jax.optim import constraints, optimizers, remedies, schedules
from sae_jax.train import calibrate, checkpoint, evaluate, feed, loop, step, writer

ROOT = Path(__file__).resolve().parent.parent
ROWS, D_IN, D_SAE = 8, 5, 12
X = np.random.RandomState(0).randn(ROWS, D_IN)
NUMBERS = np.random.RandomState(2).randn(100, 6).astype(np.float32) ** 3


def _context(train=True, is_dead=(), d_sae=D_SAE):
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        dead=jnp.zeros(d_sae, bool).at[jnp.asarray(is_dead, jnp.int32)].set(True),
        train=train,
    )


def _mesh(data=1, dictionary=1):
    return jax.make_mesh(
        (data, dictionary),
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[: data * dictionary],
    )


def _method(activation=None, **changes):
    method = step.Method(
        model=sae.Model(D_IN, D_SAE, activation or relu.Activation()),
        terms={"mse_sum": step.Term(reconstruction.mse_sum, 1.0)},
        optimizer=optimizers.sgd(lambda step: 0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normalise.Unchanged(),
        dead_after=20,
    )
    return dataclasses.replace(method, **changes)


def _batch(x=X):
    return types.Batch(x=jnp.asarray(x, jnp.float32))


def _start(method):
    return jax.jit(lambda x: step.init(method, 0, {}, x))(_batch().x)


def _float64(params):
    return jax.tree.map(lambda value: np.asarray(value, np.float64), dict(params))


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Three steps of gradient descent on rows of norm 1, by hand.


def _slopes(params):
    """The gradient of `mean ||x - x_hat||^2` of a ReLU autoencoder."""
    pre = (X - params["b_dec"]) @ params["w_enc"] + params["b_enc"]
    codes = np.maximum(pre, 0)
    g_x_hat = 2 * (codes @ params["w_dec"] + params["b_dec"] - X) / ROWS
    g_pre = g_x_hat @ params["w_dec"].T * (pre > 0)
    return {
        "w_enc": (X - params["b_dec"]).T @ g_pre,
        "b_enc": g_pre.sum(axis=0),
        "w_dec": codes.T @ g_x_hat,
        "b_dec": g_x_hat.sum(axis=0) - (g_pre @ params["w_enc"].T).sum(axis=0),
    }


def _moved(params):
    moved = {name: params[name] - 0.1 * slope for name, slope in _slopes(params).items()}
    move = moved["w_dec"] - params["w_dec"]
    along = (move * params["w_dec"]).sum(axis=1, keepdims=True)
    return {**moved, "w_dec": _unit(params["w_dec"] + move - along * params["w_dec"])}


@pytest.fixture(scope="module")
def three_steps():
    """Method, states and, by hand, parameters before each of three steps and after the last."""
    held = constraints.unit_norm()
    optimizer = optimizers.sgd(lambda step: 0.1, average=0.5, constraint=held.link)
    method = _method(optimizer=optimizer, project=held.project)
    states = [_start(method)]
    by_hand = [_float64(states[0].params)]
    take = jax.jit(step.make(method))
    for _ in range(3):
        states.append(take(states[-1], _batch())[0])
        by_hand.append(_moved(by_hand[-1]))
    return method, states, by_hand


def test_no_gradient_of_the_step_before_is_left_and_rows_have_norm_one_after_the_step(three_steps):
    """OpenAI's published loop adds gradients up, and scales rows before the step, not after it."""
    _, states, by_hand = three_steps
    for state, expected in zip(states, by_hand, strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(state.params[name], value, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(np.linalg.norm(state.params["w_dec"], axis=1), 1, atol=1e-6)


def test_an_encoder_that_starts_as_a_copy_of_the_decoder_goes_its_own_way(three_steps):
    """In saev both were one tensor."""
    first, *_, last = (state.params for state in three_steps[1])
    np.testing.assert_allclose(first["w_enc"], first["w_dec"].T, atol=1e-6)
    assert np.abs(last["w_enc"] - last["w_dec"].T).max() > 0.05


def test_what_is_evaluated_is_the_mean_after_steps_without_bias_and_with_rows_of_norm_one(
    three_steps,
):
    """OpenAI averages before the step; without the correction a short average is near 0."""
    method, states, by_hand = three_steps
    found = step.at_rest(method, states[-1]).params
    weights = np.asarray([1, 2, 4]) / 7
    expected = {
        name: np.tensordot(weights, np.stack([p[name] for p in by_hand[1:]]), 1)
        for name in by_hand[0]
    }
    assert np.linalg.norm(expected["w_dec"], axis=1).min() < 1 - 1e-4
    expected["w_dec"] = _unit(expected["w_dec"])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-6, err_msg=name)


def test_rows_have_norm_one_after_resampling_too():
    held = constraints.unit_norm()
    method = _method(
        optimizer=optimizers.adam(lambda step: 0.1, constraint=held.link),
        project=held.project,
        remedy=remedies.resample(every=2, until=2),
    )
    start = _start(method)
    silent = start.params["b_enc"].at[3:].set(-100.0)
    start = dataclasses.replace(
        start, params={**start.params, "b_enc": silent}, idle=start.idle.at[3:].set(20)
    )
    take = jax.jit(step.make(method))
    once, metrics = take(start, _batch())
    assert float(metrics["dead"]) == 9 / 12
    twice, _ = take(once, _batch())
    np.testing.assert_array_equal(twice.params["b_enc"][3:], 0)
    np.testing.assert_allclose(np.linalg.norm(twice.params["w_dec"], axis=1), 1, atol=1e-6)
    assert float(take(twice, _batch())[1]["dead"]) == 0


# AuxK.


@pytest.mark.parametrize("devices", [1, 4])
def test_auxk_is_of_what_the_whole_dictionary_leaves_over_in_the_whole_batch(devices):
    """SAELens #666: of what a prefix leaves over; others divide by a device's own variance."""
    terms = {
        "matryoshka": step.Term(functools.partial(matryoshka.matryoshka, prefixes=(3, D_SAE)), 1.0),
        "auxk": step.Term(functools.partial(dead.auxk, k=2), 1 / 32),
    }
    method = _method(topk.Activation(k=2, relu=True, form="dense"), terms=terms)
    state = _start(method)
    gone = np.asarray([1, 4, 5, 9])
    state = dataclasses.replace(state, idle=state.idle.at[gone].set(20))
    grid = _mesh(devices)
    placed = jax.device_put(_batch(), meshes.split_batch(grid))
    found = jax.jit(step.make(method))(jax.device_put(state, meshes.replicated(grid)), placed)[1]

    params = _float64(state.params)
    pre = (X - params["b_dec"]) @ params["w_enc"] + params["b_enc"]

    def largest(among):
        codes = np.zeros_like(pre)
        for row, numbers in zip(codes, pre, strict=True):
            best = sorted(among, key=lambda i: -numbers[i])[:2]
            row[best] = numbers[best]
        return codes

    codes = np.maximum(largest(range(D_SAE)), 0)
    error, prefix_error = (
        X - codes[:, :m] @ params["w_dec"][:m] - params["b_dec"] for m in (D_SAE, 3)
    )
    spread = ((error - error.mean(axis=0)) ** 2).sum()
    missed = ((error - largest(gone) @ params["w_dec"]) ** 2).sum()
    whole = ((error**2).sum() + (prefix_error**2).sum()) / 2 / ROWS
    assert float(found["loss/auxk"]) == pytest.approx(missed / spread, rel=1e-4)
    assert float(found["loss"]) == pytest.approx(whole + missed / spread / 32, rel=1e-4)


def test_every_term_of_a_sparse_step_reaches_the_encoder(monkeypatch):
    """sparsify 1.3.3 drops the gradient of AuxK and Multi-TopK on its way back."""
    monkeypatch.setattr(sparse, "pays", lambda k, d_sae: True)
    model = sae.Model(D_IN, D_SAE, topk.Activation(k=2, form="sparse"))
    gone = np.asarray([0, 2, 3, 7, 8, 11])
    context = _context(is_dead=gone)
    rng = np.random.RandomState(1)
    shapes = dict(w_enc=(D_IN, D_SAE), b_enc=(D_SAE,), w_dec=(D_SAE, D_IN), b_dec=(D_IN,))
    params = {name: jnp.asarray(rng.randn(*s), jnp.float32) for name, s in shapes.items()}
    terms = [
        reconstruction.mse_sum,
        functools.partial(dead.auxk, k=3, normalise=False),
        functools.partial(budgets.multi_topk, k=4, relu=False),
    ]

    def found(params):
        output = model.apply({"params": params}, _batch().x, context)
        assert isinstance(output.codes, types.Codes)
        each = [of(params, _batch(), output, context).sum() for of in terms]
        return each[0] + 2 * each[1] + 3 * each[2]

    def plain(params):
        x = _batch().x
        pre = (x - params["b_dec"][None]) @ params["w_enc"] + params["b_enc"][None]

        def decoded(k, among):
            seen = jnp.where(jnp.zeros(D_SAE, bool).at[among].set(True)[None], pre, -jnp.inf)
            least = jax.lax.stop_gradient(jnp.sort(seen, axis=1)[:, -k:][:, :1])
            return jnp.where(seen >= least, pre, 0.0) @ params["w_dec"]

        b_dec, everything = params["b_dec"][None], np.arange(D_SAE)
        error = x - decoded(2, everything) - b_dec
        helped = jax.lax.stop_gradient(error) - decoded(3, gone)
        multi = x - decoded(4, everything) - b_dec
        return (error**2).sum() + 2 * (helped**2).sum() + 3 * (multi**2).sum()

    got, expected = (jax.jit(jax.value_and_grad(of))(params) for of in (found, plain))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), got, expected)


# What is active, and how many are.


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_active_latents_are_counted_exactly_where_sums_of_half_precision_stop(dtype):
    """In bfloat16 1 + 1 + ... ends at 256, in float16 at 2,048, and beyond 65,504 is nothing."""
    wide = jnp.ones((2, 70_001), dtype)
    np.testing.assert_array_equal(sparse.active(wide), [70_001, 70_001])
    few = types.Codes(wide[:, :4_001], jnp.tile(jnp.arange(4_001)[None], (2, 1)), 70_001)
    np.testing.assert_array_equal(sparse.active(few), [4_001, 4_001])
    x = jnp.zeros((2, 1))
    counted = l0.sums(types.Batch(x=x), types.Output(x, wide, wide), x[0])
    assert l0.finish(jax.device_get(counted)) == {"l0": 70_001}

    tall = jnp.zeros((70_001, 2), dtype).at[:, 0].set(1)
    x = jnp.zeros((70_001, 1))
    counted = density.sums(types.Batch(x=x), types.Output(x, tall, tall), x[0])
    np.testing.assert_array_equal(counted["active"], [70_001, 0])
    assert counted["n"] == 70_001


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)], ids=["one device", "four"])
@pytest.mark.parametrize("form", ["dense", "sparse", "of the batch"])
def test_of_equals_the_first_are_kept_in_every_form_and_on_any_number_of_devices(form, shape):
    pre = np.random.RandomState(0).randint(1, 4, (8, 16)).astype(np.float32)
    rows = pre.reshape(1, -1) if form == "of the batch" else pre
    first = np.argsort(-rows, axis=1, kind="stable")[:, : 40 if form == "of the batch" else 5]
    expected = np.zeros_like(rows)
    np.put_along_axis(expected, first, np.take_along_axis(rows, first, 1), 1)

    def codes(pre):
        if form == "of the batch":
            activation = batch_topk.Activation(k=5)
            stats = {"sum": jnp.zeros(()), "weight": jnp.zeros(())}
            return activation.apply({"stats": stats}, pre, _context(), mutable=["stats"])[0]
        activation = topk.Activation(k=5, form=form)
        if form == "dense":
            return activation(pre, _context())
        indices = activation.choose(pre, _context())
        return sparse.dense(types.Codes(sparse.take(pre, indices), indices, 16))

    where = NamedSharding(_mesh(*shape), PartitionSpec("data", "dictionary"))
    found = jax.jit(codes)(jax.device_put(pre, where))
    np.testing.assert_array_equal(found, expected.reshape(8, 16))


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "jumprelu trained", "batch_topk", "gated"])
def test_nothing_is_active_at_its_threshold_but_all_that_is_above_it(kind):
    """overcomplete's BatchTopK keeps what equals its threshold, others do not."""
    pre = jnp.asarray([[1.5, 1.5000001, 1.4999999]])
    context = _context(train=kind == "jumprelu trained", d_sae=3)
    if kind.startswith("jumprelu"):
        variables = {"params": {"threshold": jnp.full(3, 1.5)}, "stats": {"factor": jnp.ones(())}}
        codes = jumprelu.Activation().apply(variables, pre, context)
    elif kind == "batch_topk":
        stats = {"sum": jnp.asarray(0.75), "weight": jnp.asarray(0.5)}
        codes = batch_topk.Activation(k=1).apply({"stats": stats}, pre, context)
    elif kind == "relu":
        codes = relu.Activation()(pre - 1.5, context)
    else:
        zeros = jnp.zeros(3)
        params = {"w_enc": jnp.eye(3), "b_gate": zeros - 1.5, "r_mag": zeros, "b_mag": zeros}
        params |= {"w_dec": jnp.eye(3), "b_dec": zeros}
        codes = gated.Model(3, 3).apply({"params": params}, pre, context).codes
    assert (np.asarray(codes) != 0).tolist() == [[False, True, False]]


# Batches in parts.


def test_schedules_count_optimiser_steps_and_not_parts_of_batches():
    """In sparsify the horizon of the learning rate was in batches, its steps in optimiser steps."""

    def push(params, batch, output, context):
        """A gradient of 1 for each number of b_dec."""
        del output, context
        return jnp.broadcast_to(params["b_dec"].sum(), (batch.size,))

    rate = schedules.linear(4, start=0.4, end=0.0)  # 0.4, 0.3, 0.2, 0.1.
    method = _method(
        topk.Activation(k=schedules.linear(4, start=8, end=4)),
        terms={"push": step.Term(push, schedules.linear(4, start=1.0, end=5.0))},  # 1, 2, 3, 4.
        optimizer=optimizers.sgd(functools.partial(schedule.value, rate)),
        learning_rate=rate,
        parts=4,
    )
    state, take = _start(method), jax.jit(step.make(method))
    for k, moved in [(8, 0.4), (7, 1.0), (6, 1.6), (5, 2.0)]:
        state, metrics = take(state, _batch())
        assert float(metrics["l0"]) == k
        np.testing.assert_allclose(state.params["b_dec"], -moved, rtol=1e-5)
    assert int(state.step) == 4


@pytest.mark.parametrize("parts", [1, 4])
def test_a_batch_in_parts_is_never_encoded_as_a_whole(parts):
    """sparsify's micro-batches (#111, #131) and llamascopium's accumulation did nothing at all."""
    method = _method(parts=parts)
    state = jax.eval_shape(lambda: step.init(method, 0, {}, _batch().x))
    text = str(jax.make_jaxpr(step.make(method))(state, _batch()))
    assert (f"f32[{ROWS},{D_SAE}]" in text) == (parts == 1)
    assert (f"f32[{ROWS // 4},{D_SAE}]" in text) == (parts == 4)


# Scales.


def test_a_normaliser_is_fitted_to_more_than_the_first_batch():
    """SAELens #467: to one batch's first example."""
    x = np.random.RandomState(0).randn(20_000, 3).astype(np.float32)
    x *= np.linspace(0.1, 10, 20_000, dtype=np.float32)[:, None]
    data = base.Arrays(base.Spec("rising", "train", (3,)), x)
    method = _method(normaliser=normalise.MeanNorm(), model=sae.Model(3, 4, relu.Activation()))
    plan = loop.Plan(0, 10, 16, 10, 0, 0)
    task = loop.Task(method, data, {}, plan, _mesh(), sae.LATENT_AXES)
    state = loop.initialise(task, loop.template(task))
    expected = np.sqrt(3) / np.linalg.norm(x.astype(np.float64), axis=1).mean()
    np.testing.assert_allclose(state.normaliser["scale"], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [normalise.MeanNorm(centre=True), normalise.Whiten(0.01)])
@pytest.mark.parametrize("activation", ["jumprelu", "batch_topk", "topk"])
def test_folding_a_normaliser_changes_no_threshold_no_choice_and_no_state(activation, kind):
    """SAELens #763 forgot the thresholds, which are in the units of codes."""
    x = (3 + X @ np.random.RandomState(1).randn(D_IN, D_IN)).astype(np.float32)
    theta = np.linspace(0.05, 0.6, D_SAE).astype(np.float32)
    variables = {
        "jumprelu": ({"activation": {"threshold": jnp.asarray(theta)}}, {"factor": jnp.ones(())}),
        "batch_topk": ({}, {"sum": jnp.asarray(0.1), "weight": jnp.asarray(0.25)}),
        "topk": ({}, None),
    }
    kinds = dict(jumprelu=jumprelu, batch_topk=batch_topk, topk=topk)
    made = kinds[activation].Activation(**({} if activation == "jumprelu" else {"k": 3}))
    method = _method(made, normaliser=kind)
    fitted = {name: jnp.asarray(value) for name, value in kind.fit(lambda: [x]).items()}
    state = jax.jit(lambda fitted, x: step.init(method, 0, fitted, x))(fitted, jnp.asarray(x))
    params, stats = variables[activation]
    state = dataclasses.replace(
        state,
        params={**state.params, "b_dec": state.params["b_dec"] + 0.3, **params},
        stats={} if stats is None else {"activation": stats},
    )
    before = _bytes(state)
    folded = fold.fold(method, state)
    assert _bytes(state) == before
    pre = x @ folded.w_enc + folded.b_enc
    if activation == "topk":
        least = np.sort(pre, axis=1)[:, -3:-2]
        codes = np.where(pre >= least, pre, 0)
    else:
        codes = np.where(pre > (theta if activation == "jumprelu" else 0.4), pre, 0)
    assert 0.05 < (codes != 0).mean() < 0.6
    reconstruct = jax.jit(functools.partial(step.reconstruct, method))
    expected = reconstruct(state, types.Batch(x=jnp.asarray(x)))
    np.testing.assert_allclose(codes, expected.codes, atol=2e-5)
    np.testing.assert_allclose(codes @ folded.w_dec + folded.b_dec, expected.x_hat, atol=2e-4)


# Data, seeds and settings.


@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_input_target_and_label_of_an_example_are_shuffled_together(kind):
    """OpenMOSS #82: activations of several hooks had each a permutation of its own."""
    number = np.arange(50, dtype=np.int32)
    x = np.stack([number, number**2], axis=1).astype(np.float32)
    data = base.Arrays(base.Spec("toy", "train", (2,)), x, label=number, y=-x)
    made = {"resident": feed.Resident, "streamed": functools.partial(feed.Streamed, longest=3)}
    source = made[kind](data, _mesh(2), 10, 0)
    take, seen = jax.jit(source.batch), []
    for now in range(5):
        place = jnp.asarray(now, jnp.int32)
        batch = take(source.payload(now, now + 1, now + 1), place, place)
        np.testing.assert_array_equal(batch.x, x[np.asarray(batch.label)])
        np.testing.assert_array_equal(batch.target, -np.asarray(batch.x))
        seen += np.asarray(batch.label).tolist()
    source.close()
    assert sorted(seen) == number.tolist() != seen


def test_the_seed_of_a_run_changes_its_start_its_order_and_its_noise_and_no_data(monkeypatch):
    """SAELens reads the seed of its runner nowhere."""
    asked = []

    def data(group):
        asked.append(dict(group))
        label = np.arange(len(NUMBERS), dtype=np.int32)
        return base.Arrays(base.Spec("toy", group["split"], (6,)), NUMBERS, label)

    def drawn(seed):
        config = sparse_but_wrong.get_config("debug")
        config.seed, config.evals.test.metrics = seed, ("fvu",)
        task = build.task(config)
        state = loop.initialise(task, loop.template(task))
        source = feed.make(task.data, task.mesh, task.plan.batch_size, task.plan.seed, 1)
        zero = jnp.asarray(0)
        first = jax.jit(source.batch)(source.payload(0, 1, 1), zero, zero)
        return state.params["w_dec"], jax.random.key_data(state.key), first.label

    monkeypatch.setattr(build, "data", data)
    for first, other in zip(drawn(0), drawn(1), strict=True):
        assert (np.asarray(first) != np.asarray(other)).any()
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("seed", lambda task: task.plan.seed),
        ("num_steps", lambda task: task.plan.num_steps),
        ("batch_size", lambda task: task.plan.batch_size),
        ("log_every", lambda task: task.plan.log_every),
        ("eval_every", lambda task: task.plan.eval_every),
        ("checkpoint_every", lambda task: task.plan.checkpoint_every),
        ("dead_after", lambda task: task.method.dead_after),
        ("parts", lambda task: task.method.parts),
    ],
)
def test_every_number_at_the_top_of_a_config_reaches_the_run(key, read):
    """SAELens reads `dead_feature_threshold` nowhere."""
    config = sparse_but_wrong.get_config("debug")
    config[key] = 123
    assert read(build.task(config)) == 123


def _names(nodes):
    """What is read in a tree."""
    for node in nodes:
        if isinstance(getattr(node, "ctx", None), ast.Load):
            yield getattr(node, "id", getattr(node, "attr", ""))
        yield from _names(ast.iter_child_nodes(node))


def test_every_knob_of_every_component_is_read():
    """saev's `n_sparsity_warmup` and llamascopium's `gradient_accumulation_steps` were not."""
    given = {"d_in", "d_out", "grid"}  # By the data, whether a model needs them or not.
    knobs, unread = 0, []
    for folder in ("activations", "data", "losses", "metrics", "models", "ops", "optim"):
        for path in sorted((ROOT / "sae_jax" / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                wanted: set[str] = set()
                if isinstance(node, ast.FunctionDef):
                    wanted = {a.arg for a in node.args.kwonlyargs}
                    if node.name == "load":
                        wanted |= {a.arg for a in node.args.args}
                elif isinstance(node, ast.ClassDef) and folder in ("activations", "models"):
                    body = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
                    wanted = {t.id for t in body if isinstance(t, ast.Name)} - given
                    # What a check reads is not yet used.
                    node.body = [n for n in node.body if getattr(n, "name", "") != "__post_init__"]
                knobs += len(wanted)
                read = set(_names(node.body)) if wanted else set()
                unread += [f"{path.name}: {node.name} {name}" for name in wanted - read]
    assert knobs > 150
    assert not unread, unread


# A run, and the same run disturbed.


def _task(log_every=12, eval_every=0, checkpoint_every=0):
    """Everything at once that a step can carry on: twelve of them, on little data."""
    held = constraints.unit_norm()
    data = base.Arrays(base.Spec("toy", "train", (6,)), NUMBERS)
    k = schedules.linear(12, start=4, end=1)
    rate = schedules.warmup(12, value=0.01, warmup=4)
    metrics = {"l0": evaluate.Metric(l0.sums, l0.finish)}
    method = step.Method(
        model=sae.Model(6, 48, batch_topk.Activation(k=k)),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "auxk": step.Term(dead.auxk, 1 / 32),
        },
        optimizer=optimizers.adam(
            functools.partial(schedule.value, rate), average=0.9, constraint=held.link
        ),
        project=held.project,
        learning_rate=rate,
        normaliser=normalise.MeanNorm(),
        dead_after=70,
        corruption=corrupt.Corruption(functools.partial(corrupt.gaussian, sigma=0.1)),
        parts=2,
    )
    return loop.Task(
        method=method,
        data=data,
        evaluations={"test": evaluate.Evaluation(data, metrics, 50)},
        plan=loop.Plan(3, 12, 20, log_every, eval_every, checkpoint_every),
        mesh=_mesh(),
        latent_axes=sae.LATENT_AXES,
        calibration=calibrate.Calibration(2.0, data, 50),
    )


def _bytes(tree):
    def leaf(value):
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(value) if is_key else value).tobytes()

    return {
        jax.tree_util.keystr(path): leaf(value)
        for path, value in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.fixture(scope="module")
def compiled_once():
    """One program for all runs: compiling it takes nearly all of their time."""
    make, made = loop.program, []

    def cached(*args):
        made.append(made[0] if made else make(*args))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "program", cached)
        yield


def _train(task, folder, state=None, stop=lambda: False):
    checkpoints = checkpoint.Checkpoints(folder)
    try:
        state = loop.initialise(task, loop.template(task)) if state is None else state
        return loop.train(task, state, checkpoints, writer.Silent(), stop=stop)[0]
    finally:
        checkpoints.wait()
        checkpoints.close()


def _restored(task, folder):
    checkpoints = checkpoint.Checkpoints(folder)
    state = checkpoints.restore(loop.template(task))
    checkpoints.close()
    return state


@pytest.fixture(scope="module")
def undisturbed(compiled_once, tmp_path_factory):
    """The folder of a run that did nothing but train, and its last state."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, _bytes(_train(_task(), folder))


def test_logging_evaluating_saving_and_going_on_move_no_threshold_no_counter_and_no_weight(
    undisturbed, tmp_path
):
    """dictionary_learning's logging counts examples twice and moves BatchTopK's threshold.

    overcomplete does not save its threshold, and no other library all that a step carries on.
    """
    dispatches = iter([False] * 5 + [True])
    disturbed = _task(log_every=1, eval_every=2, checkpoint_every=3)
    with pytest.raises(loop.Preempted, match="after step 6 of 12"):
        _train(disturbed, tmp_path, stop=lambda: next(dispatches))
    halfway = _restored(_task(), tmp_path)
    assert int(halfway.step) == 6
    assert float(halfway.stats["activation"]["sum"]) > 0
    assert set(np.asarray(halfway.idle).tolist()) == {0, 20, 40, 70}
    assert _bytes(_train(disturbed, tmp_path, halfway)) == undisturbed[1]


def test_what_is_saved_last_has_the_thresholds_that_were_calibrated(undisturbed):
    folder, expected = undisturbed
    state = _restored(_task(), folder)
    assert _bytes(state) == expected
    task = _task()
    evaluation = task.evaluations["test"]
    totals = evaluate.Evaluator(task.method, task.mesh).totals(evaluation, state)
    assert evaluate.finish(evaluation, totals)["l0"] == pytest.approx(2.0, rel=0.01)
    np.testing.assert_allclose(geometry.norms(state.params["w_dec"]), 1, atol=1e-6)
