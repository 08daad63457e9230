import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import relu
from sae_jax.data import base
from sae_jax.metrics import density, fvu, l0, mse, nll
from sae_jax.models import archetypal, sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import evaluate, step

METRICS = {
    name: evaluate.Metric(module.sums, module.finish)
    for name, module in {"mse": mse, "fvu": fvu, "l0": l0, "density": density}.items()
}


def _mesh(data=1, dictionary=1):
    return jax.make_mesh(
        (data, dictionary),
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[: data * dictionary],
    )


def _data(rows=50):
    x = 3 + np.random.RandomState(0).randn(rows, 8).astype(np.float32)
    return base.Arrays(base.Spec("toy", "test", (8,)), x)


def _evaluation(batch_size, data=None):
    return evaluate.Evaluation(data or _data(), METRICS, batch_size)


def _method(normaliser=None):
    return step.Method(
        model=sae.Model(8, 16, relu.Activation(), bias="mean"),
        terms={},
        optimizer=optimizers.sgd(lambda step: 0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normaliser or normalise.Unchanged(),
        dead_after=10,
    )


def _state(method):
    x = _data().x
    fitted = {
        name: jnp.asarray(value) for name, value in method.normaliser.fit(lambda: [x]).items()
    }
    state = step.init(method, 0, fitted, jnp.asarray(x))
    b_enc = jnp.linspace(-3, 2, 16)  # Some latents never fire, some always do.
    return dataclasses.replace(state, params={**state.params, "b_enc": b_enc})


def _measure(batch_size, normaliser=None, mesh=None):
    method = _method(normaliser)
    evaluation = _evaluation(batch_size)
    totals = evaluate.Evaluator(method, mesh or _mesh()).totals(evaluation, _state(method))
    return evaluate.finish(evaluation, totals)


def _by_hand(normaliser):
    method = _method(normaliser)
    state, x = _state(method), _data().x.astype(np.float64)
    fitted = method.normaliser.scale(state.normaliser, jnp.asarray(_data().x))
    shift, scale = np.asarray(fitted.shift, np.float64), np.asarray(fitted.scale, np.float64)
    params = {name: np.asarray(value, np.float64) for name, value in state.params.items()}
    pre = ((x - shift) * scale - params["b_dec"]) @ params["w_enc"] + params["b_enc"]
    codes = np.maximum(pre, 0)
    x_hat = (codes @ params["w_dec"] + params["b_dec"]) / scale + shift
    share = (codes > 0).mean(axis=0)
    return {
        "mse_sum": ((x - x_hat) ** 2).sum(axis=1).mean(),
        "fvu": ((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum(),
        "l0": (codes > 0).sum(axis=1).mean(),
        "dead": (share == 0).mean(),
        "dense": (share > 0.1).mean(),
        "frequent": (share > 0.01).mean(),
    }


@pytest.mark.parametrize(
    "normaliser",
    [normalise.Unchanged(), normalise.Mean(), normalise.MeanNorm(True), normalise.Example()],
    ids=lambda normaliser: type(normaliser).__name__,
)
def test_the_numbers_are_what_numpy_says_of_the_data(normaliser):
    expected = _by_hand(normaliser)
    assert 0 < expected["dead"] < expected["dense"] < 1
    assert _measure(20, normaliser) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [50, 64, 7, 1])
def test_the_numbers_do_not_depend_on_the_batch_size(batch_size):
    assert _measure(batch_size) == pytest.approx(_by_hand(normalise.Unchanged()), rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 1), (2, 2)])
def test_the_numbers_do_not_depend_on_the_mesh(shape):
    assert _measure(16, mesh=_mesh(*shape)) == pytest.approx(_measure(16), rel=1e-6)


def test_totals_are_float64_over_the_whole_split():
    method = _method()
    totals = evaluate.Evaluator(method, _mesh()).totals(_evaluation(7), _state(method))
    assert totals.keys() == METRICS.keys()
    assert {np.asarray(leaf).dtype for leaf in jax.tree.leaves(totals)} == {np.dtype(np.float64)}
    assert totals["density"]["n"] == 50
    assert totals["density"]["active"].shape == (16,)


def test_one_evaluator_serves_several_states_and_evaluations():
    method = _method()
    evaluator, state = evaluate.Evaluator(method, _mesh()), _state(method)
    other = dataclasses.replace(state, params={**state.params, "b_dec": state.params["b_dec"] + 1})
    all_ = _evaluation(7)
    found = [
        evaluator.totals(evaluation, which)["mse"]
        for evaluation, which in [(all_, state), (all_, other), (_evaluation(7, _data(10)), state)]
    ]
    assert [totals["n"] for totals in found] == [50, 50, 10]
    assert found[1]["squared_error"] > found[0]["squared_error"] > found[2]["squared_error"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_outputs_are_those_of_reconstruct_wherever_the_parameters_lie(shape):
    method = _method(normalise.Mean())
    state = _state(method)
    batch = base.first(_data(), 5)
    expected = step.reconstruct(method, state, batch)
    got = evaluate.Evaluator(method, _mesh(*shape)).outputs(state, batch)
    assert isinstance(got.x_hat, np.ndarray)
    np.testing.assert_allclose(got.x_hat, expected.x_hat, atol=1e-5)
    np.testing.assert_allclose(got.codes, expected.codes, atol=1e-5)


def test_a_whole_data_set_is_encoded_in_its_order():
    method = _method()
    state, data = _state(method), _data()
    evaluator = evaluate.Evaluator(method, _mesh())
    codes, x_hat = evaluator.encoded(state, data, batch_size=16)
    whole = evaluator.outputs(state, base.first(data, 50))
    assert codes.shape == (50, 16)
    np.testing.assert_allclose(codes, whole.codes, atol=1e-5)
    np.testing.assert_allclose(x_hat, whole.x_hat, atol=1e-5)


def test_the_model_is_compiled_once_for_any_data_set(monkeypatch):
    traced, reconstruct = [], step.reconstruct

    def counted(*args):
        traced.append(args)
        return reconstruct(*args)

    monkeypatch.setattr(step, "reconstruct", counted)
    method = _method()
    evaluator, state = evaluate.Evaluator(method, _mesh()), _state(method)
    for rows in (50, 20):
        assert len(evaluator.encoded(state, _data(rows), batch_size=10)[0]) == rows
    assert len(traced) == 1


def test_a_metric_that_asks_for_the_model_may_encode_in_the_scale_of_the_data():
    method = _method(normalise.Mean())
    state, data = _state(method), _data()

    def sums(batch, output, reference, *, model):
        return {"off": jnp.abs(model.encode(batch.x) - output.codes).max()}

    metric = evaluate.Metric(sums, lambda totals: {"off": float(totals["off"])})
    evaluation = evaluate.Evaluation(data, {"off": metric}, 50)
    totals = evaluate.Evaluator(method, _mesh()).totals(evaluation, state)
    assert evaluate.finish(evaluation, totals)["off"] < 1e-5


def test_what_a_metric_prepares_it_gets_once_of_the_parameters_and_the_data():
    calls = []

    def prepare(params, data):
        calls.append(data)
        return {"norm": np.float32(np.linalg.norm(params["w_dec"]))}

    def sums(batch, output, reference, prepared):
        del output, reference
        return {"n": types.mask(batch).sum(), "total": types.mask(batch).sum() * prepared["norm"]}

    metric = evaluate.Metric(sums, lambda totals: {"norm": totals["total"] / totals["n"]}, prepare)
    method = _method()
    evaluation = evaluate.Evaluation(_data(), {"norm": metric}, 7)
    state = _state(method)
    totals = evaluate.Evaluator(method, _mesh()).totals(evaluation, state)
    expected = np.linalg.norm(state.params["w_dec"])
    assert evaluate.finish(evaluation, totals)["norm"] == pytest.approx(expected, rel=1e-5)
    assert len(calls) == 1


def test_a_dictionary_that_is_no_parameter_is_prepared_as_one():
    model = archetypal.Model(8, 16, relu.Activation(), points=4)
    method = dataclasses.replace(_method(), model=model)
    state, shapes = _state(method), []

    def prepare(params, data):
        shapes.append(params["w_dec"].shape)
        return {}

    def sums(batch, output, reference, prepared):
        return {"rows": types.mask(batch).sum()}

    metric = evaluate.Metric(sums, lambda totals: totals, prepare)
    evaluation = evaluate.Evaluation(_data(), {"rows": metric}, 16)
    evaluate.Evaluator(method, _mesh()).totals(evaluation, state)
    assert shapes == [(16, 8)]


def test_a_metric_that_does_not_fit_the_model_is_named_with_its_key():
    metrics = {"nll": evaluate.Metric(nll.sums, nll.finish)}
    evaluation, method = evaluate.Evaluation(_data(), metrics, 10), _method()
    said = r"^config\.evals: metric nll: it needs a model with log_weights"
    with pytest.raises(errors.ConfigError, match=said):
        evaluate.Evaluator(method, _mesh()).totals(evaluation, _state(method))
