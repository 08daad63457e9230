import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import errors
from sae_jax.optim import constraints, optimizers


def _params(seed=0):
    rng = np.random.RandomState(seed)
    shapes = {"w_enc": (8, 32), "w_dec": (32, 8), "b_enc": (32,), "b_dec": (8,)}
    return {name: jnp.asarray(rng.randn(*shape), jnp.float32) for name, shape in shapes.items()}


def _norms(params):
    return np.linalg.norm(np.asarray(params["w_dec"], np.float64), axis=1)


def test_unit_norm_brings_the_rows_to_norm_one_and_leaves_the_rest():
    before = _params()
    after = constraints.unit_norm().project(before)
    np.testing.assert_allclose(_norms(after), np.ones(32), atol=1e-6)
    cosines = (np.asarray(before["w_dec"]) * after["w_dec"]).sum(axis=1) / _norms(before)
    np.testing.assert_allclose(cosines, np.ones(32), atol=1e-6)
    for name in ("w_enc", "b_enc", "b_dec"):
        np.testing.assert_array_equal(after[name], before[name])


def test_unit_norm_keeps_rows_at_norm_one_and_moves_all_else_as_adam_does():
    constraint = constraints.unit_norm()
    params = {
        "held": constraint.project(_params()),
        "free": constraint.project(_params()),
    }
    chains = {
        "held": optimizers.adam(lambda step: 0.05, constraint=constraint.link),
        "free": optimizers.adam(lambda step: 0.05),
    }
    states = {name: chain.init(params[name]) for name, chain in chains.items()}
    update = {name: jax.jit(chain.update) for name, chain in chains.items()}
    for seed in range(50):
        for name in chains:
            updates, states[name] = update[name](_params(seed), states[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
        np.testing.assert_allclose(_norms(params["held"]), np.ones(32), atol=1e-6)
    assert np.abs(_norms(params["free"]) - 1).max() > 0.1
    for name in ("w_enc", "b_enc", "b_dec"):
        np.testing.assert_array_equal(params["held"][name], params["free"][name])


def test_frozen_rows_stay_and_all_else_moves():
    constraint = constraints.frozen_rows()
    params = _params()
    np.testing.assert_array_equal(constraint.project(params)["w_dec"], params["w_dec"])
    moves, _ = constraint.link.update(_params(1), constraint.link.init(params), params)
    np.testing.assert_array_equal(moves["w_dec"], np.zeros((32, 8)))
    np.testing.assert_array_equal(moves["w_enc"], _params(1)["w_enc"])


def test_rows_of_each_layer_are_held():
    constraint = constraints.unit_norm()
    layers = {"layer_0": _params(), "layer_1": _params(1), "b_dec": jnp.zeros(8)}
    params = constraint.project(layers)
    moves = jax.tree.map(lambda leaf: 0.1 * leaf[::-1], layers)
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    after = optax.apply_updates(params, got)
    for name in ("layer_0", "layer_1"):
        np.testing.assert_allclose(_norms(params[name]), np.ones(32), atol=1e-6)
        np.testing.assert_allclose(_norms(after[name]), np.ones(32), atol=1e-6)
        assert np.abs(got[name]["w_dec"]).max() > 0.01
        np.testing.assert_array_equal(got[name]["w_enc"], moves[name]["w_enc"])
    moves, _ = constraints.frozen_rows().link.update(moves, optax.EmptyState(), params)
    np.testing.assert_array_equal(moves["layer_1"]["w_dec"], np.zeros((32, 8)))


def test_a_model_without_rows_cannot_be_held():
    with pytest.raises(errors.UserError, match="no parameter w_dec"):
        constraints.frozen_rows().project({"b_dec": jnp.zeros(2), "layer": {"w": jnp.ones(2)}})


def test_unit_norm_takes_the_parallel_part_out_of_the_update():
    constraint = constraints.unit_norm()
    params, moves = constraint.project(_params()), _params(1)
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    d, u = (np.asarray(tree["w_dec"], np.float64) for tree in (params, moves))
    tangent = u - (u * d).sum(axis=1, keepdims=True) * d
    moved = d + tangent
    expected = moved / np.sqrt((moved**2).sum(axis=1, keepdims=True)) - d
    np.testing.assert_allclose(got["w_dec"], expected, atol=1e-6)
    # Were the parallel part only scaled away, rows would turn by another angle.
    naive = (d + u) / np.sqrt(((d + u) ** 2).sum(axis=1, keepdims=True)) - d
    assert np.abs(naive - expected).max() > 0.1


def test_an_update_along_a_row_does_not_move_it():
    constraint = constraints.unit_norm()
    params = constraint.project(_params())
    moves = {**_params(1), "w_dec": 0.7 * params["w_dec"]}
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    np.testing.assert_allclose(got["w_dec"], np.zeros((32, 8)), atol=1e-6)


def test_unit_norm_says_that_it_needs_the_parameters():
    link = constraints.unit_norm().link
    with pytest.raises(ValueError, match="needs the parameters"):
        link.update(_params(), link.init(_params()))


def test_rows_longer_than_one_are_scaled_back_and_shorter_ones_are_free():
    constraint = constraints.norm_at_most_one()
    params = {"w_dec": jnp.asarray([[0.6, 0.0], [0.0, 1.0]]), "b_dec": jnp.zeros(2)}
    moves = {"w_dec": jnp.asarray([[0.0, 0.3], [1.0, 1.0]]), "b_dec": jnp.ones(2)}
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    after = params["w_dec"] + got["w_dec"]
    np.testing.assert_allclose(after, [[0.6, 0.3], [5**-0.5, 2 * 5**-0.5]], atol=1e-6)
    np.testing.assert_array_equal(got["b_dec"], moves["b_dec"])


@pytest.mark.parametrize("make", [constraints.none, constraints.unit_norm])
def test_thresholds_stay_at_zero_or_above(make):
    constraint = make()
    params = {**_params(), "activation": {"threshold": jnp.asarray([-0.5, 0.1, 0.2])}}
    params = constraint.project(params)
    np.testing.assert_allclose(params["activation"]["threshold"], [0, 0.1, 0.2])
    moves = {**_params(1), "activation": {"threshold": jnp.asarray([-1.0, -0.3, -0.1])}}
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    after = optax.apply_updates(params, got)["activation"]["threshold"]
    np.testing.assert_allclose(after, [0, 0, 0.1], atol=1e-7)
    assert (np.asarray(after) >= 0).all()


def test_thresholds_of_every_activation_stay_at_zero_or_above():
    constraint = constraints.none()
    params = {"activation": {"threshold": jnp.ones(2)}, "activation_0": {"threshold": -jnp.ones(2)}}
    params = constraint.project(params)
    np.testing.assert_array_equal(params["activation_0"]["threshold"], [0, 0])
    moves = jax.tree.map(lambda leaf: leaf - 1.5, params)
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    after = optax.apply_updates(params, got)
    np.testing.assert_array_equal(after["activation"]["threshold"], [0.5, 0.5])
    np.testing.assert_array_equal(after["activation_0"]["threshold"], [0, 0])


def test_none_changes_nothing():
    constraint = constraints.none()
    params, moves = _params(), _params(1)
    assert constraint.project(params) is params
    got, _ = constraint.link.update(moves, constraint.link.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, got, moves)


@pytest.mark.parametrize(
    "make",
    [
        value
        for name, value in vars(constraints).items()
        if inspect.isfunction(value)
        and value.__module__ == constraints.__name__
        and not name.startswith("_")
    ],
)
def test_projecting_twice_is_projecting_once(make):
    project = make().project
    once = project(_params())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), project(once), once)
