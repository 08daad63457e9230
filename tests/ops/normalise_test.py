import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import errors, types
from sae_jax.activations import identity
from sae_jax.metrics import fvu, mse
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.train import step

KINDS = {
    "none": normalise.Unchanged(),
    "mean": normalise.Mean(),
    "mean_norm": normalise.MeanNorm(),
    "mean_norm_centred": normalise.MeanNorm(centre=True),
    "mean_square_norm": normalise.MeanSquareNorm(),
    "example": normalise.Example(),
    "whiten": normalise.Whiten(),
}


def _data():
    rng = np.random.RandomState(0)
    return (3 + rng.randn(50, 8) * np.arange(1, 9)).astype(np.float32)


def _fit(kind, *cuts):
    parts = np.split(_data(), cuts)
    return kind.fit(lambda: iter(parts))


def _scale(kind):
    fitted = {name: jnp.asarray(value) for name, value in _fit(kind).items()}
    return kind.scale(fitted, jnp.asarray(_data()))


def _scaled(kind):
    return np.asarray(_scale(kind).enter(jnp.asarray(_data())))


def _expected(name):
    x = _data().astype(np.float64)
    mean = x.mean(axis=0, keepdims=True)
    if name == "none":
        return x
    if name == "mean":
        return x - mean
    if name == "mean_norm":
        return x * np.sqrt(8) / np.sqrt((x**2).sum(axis=1)).mean()
    if name == "mean_norm_centred":
        return (x - mean) * np.sqrt(8) / np.sqrt(((x - mean) ** 2).sum(axis=1)).mean()
    if name == "mean_square_norm":
        return x / np.sqrt((x**2).sum(axis=1).mean())
    if name == "whiten":
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        return (x - mean) @ (vectors / np.sqrt(values + 1e-3 * values.mean())) @ vectors.T
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / (np.sqrt((centred**2).sum(axis=1, keepdims=True) / 7) + 1e-5)


def test_every_normaliser_is_tested():
    assert {type(kind) for kind in KINDS.values()} == set(normalise.BY_NAME.values())


@pytest.mark.parametrize("name", KINDS)
def test_the_scaled_data_are_what_numpy_says(name):
    np.testing.assert_allclose(_scaled(KINDS[name]), _expected(name), atol=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_the_scale_is_undone(name):
    there_and_back = _scale(KINDS[name]).leave(jnp.asarray(_scaled(KINDS[name])))
    np.testing.assert_allclose(there_and_back, _data(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centre", [False, True])
def test_mean_norm_makes_the_mean_norm_the_root_of_the_width(centre):
    norms = np.linalg.norm(_scaled(normalise.MeanNorm(centre)), axis=1)
    np.testing.assert_allclose(norms.mean(), np.sqrt(8), rtol=1e-6)


def test_example_makes_each_example_standard():
    scaled = _scaled(normalise.Example())
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=1, ddof=1), 1, atol=1e-4)


def test_example_takes_a_constant_example():
    x = jnp.full((2, 8), 5.0)
    scale = normalise.Example(epsilon=0.01).scale({}, x)
    np.testing.assert_allclose(scale.enter(x), np.zeros((2, 8)), atol=1e-6)
    np.testing.assert_allclose(scale.scale, [[100.0], [100.0]], rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_fit_does_not_depend_on_how_the_data_are_cut(name):
    whole = _fit(KINDS[name])
    for cuts in [(25,), (1, 2, 30), (49,)]:
        cut = _fit(KINDS[name], *cuts)
        assert cut.keys() == whole.keys()
        for key, value in whole.items():
            np.testing.assert_allclose(cut[key], value, rtol=1e-6)


def test_the_mean_is_summed_in_float64():
    x = (1e4 + np.random.RandomState(0).rand(20_000, 1)).astype(np.float32)
    fitted = normalise.Mean().fit(lambda: [x])
    np.testing.assert_allclose(fitted["mean"], x.astype(np.float64).mean(axis=0), atol=1e-3)


def test_whitened_data_have_the_covariance_of_the_identity():
    covariance = np.cov(_scaled(normalise.Whiten(epsilon=0.0)).T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(8), atol=1e-4)


def test_whiten_refuses_data_that_lie_in_a_plane():
    x = np.random.RandomState(0).randn(50, 1).astype(np.float32) * np.ones((1, 4), np.float32)
    with pytest.raises(errors.DataError, match="do not vary in some direction"):
        normalise.Whiten(epsilon=0.0).fit(lambda: [x])


@pytest.mark.parametrize("name", ["mean_norm", "mean_square_norm"])
def test_data_without_a_scale_are_refused(name):
    with pytest.raises(errors.DataError, match=f"{name}: every example is zero"):
        KINDS[name].fit(lambda: [np.zeros((4, 8), np.float32)])


def _linear(kind, factor):
    """A method whose model returns `factor` times its input, and its state."""
    method = step.Method(
        model=sae.Model(8, 8, identity.Activation()),
        terms={},
        optimizer=optax.identity(),
        project=lambda params: params,
        learning_rate=0.0,
        normaliser=kind,
        dead_after=1,
    )
    fitted = {name: jnp.asarray(value) for name, value in _fit(kind).items()}
    state = step.init(method, 0, fitted, jnp.asarray(_data()))
    params = {**state.params, "w_enc": jnp.eye(8), "w_dec": factor * jnp.eye(8)}
    return method, dataclasses.replace(state, params=params)


@pytest.mark.parametrize("name", KINDS)
def test_metrics_are_in_the_scale_of_the_data(name):
    kind, batch = KINDS[name], types.Batch(x=jnp.asarray(_data()))
    reference = batch.x.mean(axis=0)
    exact = step.reconstruct(*_linear(kind, 1.0), batch)
    np.testing.assert_allclose(exact.x_hat, _data(), rtol=1e-5, atol=1e-5)
    assert fvu.finish(fvu.sums(batch, exact, reference))["fvu"] < 1e-9

    half = step.reconstruct(*_linear(kind, 0.5), batch)
    nothing = np.asarray(_scale(kind).leave(jnp.zeros_like(batch.x)))
    squared = ((0.5 * (_data() - nothing)) ** 2).sum(axis=1).mean()
    found = mse.finish(mse.sums(batch, half, reference))["mse_sum"]
    np.testing.assert_allclose(found, squared, rtol=1e-5)


def test_a_target_is_scaled_as_its_input_is():
    kind = normalise.MeanNorm(centre=True)
    method, state = _linear(kind, 1.0)
    y = _data()[::-1]
    batch = types.Batch(x=jnp.asarray(_data()), y=jnp.asarray(y))
    scaled, _ = step.to_model_scale(method, state.normaliser, batch)
    np.testing.assert_array_equal(scaled.target, _scale(kind).enter(batch.y))
