"""The recurrent autoencoder against loops in NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import jaxtyping
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import identity, relu
from sae_jax.models import base, recurrent

T, WIDTH, AFTER, HIDDEN, D_SAE = 4, 3, 2, 5, 6
VARIANTS = [
    dict(cell="gru", feedback=True),
    dict(cell="gru", feedback=False, output="sigmoid"),
    dict(cell="lstm", feedback=True, output="sigmoid", bias="mean"),
    dict(cell="lstm", feedback=False),
]

every_variant = pytest.mark.parametrize("fields", VARIANTS)


def _model(after=AFTER, grid=(T, WIDTH), **fields):
    return recurrent.Model(
        **{
            **dict(d_in=T * WIDTH, d_out=(T + after) * WIDTH, d_sae=D_SAE, hidden=HIDDEN),
            **dict(grid=grid, activation=relu.Activation()),
            **fields,
        }
    )


def _context():
    return types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool))


def _x(rows=3):
    return np.random.RandomState(0).rand(rows, T * WIDTH).astype(np.float32)


@functools.cache
def _case(number, after=AFTER):
    """Returns a model, parameters that are all random, and what it makes of `_x`."""
    model = _model(after, **VARIANTS[number])
    params, _ = base.init(model, jax.random.key(0), jnp.asarray(_x()))
    rng = np.random.RandomState(1)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.randn(*leaf.shape), leaf.dtype), params
    )
    output, _ = base.forward(model, params, {}, jnp.asarray(_x()), _context())
    return model, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params), output


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _step(kind, cell, x, h, c):
    """One step of a cell, gate by gate, from its textbook form."""
    gates = len(cell["b"]) // HIDDEN
    own, bias = np.split(cell["w_state"], gates, axis=1), np.split(cell["b"], gates)
    into = [0.0] * gates if x is None else [x @ w for w in np.split(cell["w_in"], gates, axis=1)]
    a = [into[i] + bias[i] for i in range(gates)]
    if kind == "gru":
        r, z = (_sigmoid(a[i] + h @ own[i]) for i in (0, 1))
        new = np.tanh(a[2] + r * (h @ own[2]))
        return (1 - z) * new + z * h, None
    i, f, o = (_sigmoid(a[k] + h @ own[k]) for k in range(3))
    c = f * c + i * np.tanh(a[3] + h @ own[3])
    return o * np.tanh(c), c


def _by_hand(model, params, x):
    """One example: codes, and what each step of the output is."""
    h = c = np.zeros(HIDDEN)
    for step in x.reshape(T, WIDTH):
        h, c = _step(model.cell, params["reader"], step, h, c)
    codes = np.maximum(h @ params["w_enc"] + params["b_enc"], 0)
    start = np.tanh(codes @ params["w_dec"] + params["b_dec"]).reshape(-1, HIDDEN)
    squash = _sigmoid if model.output == "sigmoid" else lambda y: y
    parts = 2 if model.cell == "lstm" else 1
    frames = {}
    for number, (name, order) in enumerate(
        {"past": range(T)[::-1], "future": range(T, model.d_out // WIDTH)}.items()
    ):
        if not len(order):
            continue
        h, c = start[number * parts], start[number * parts + parts - 1]
        seen = np.zeros(WIDTH)
        for at in order:
            h, c = _step(model.cell, params[name], seen if model.feedback else None, h, c)
            seen = squash(h @ params[name]["w_out"] + params[name]["b_out"])
            frames[at] = seen
    return codes, np.concatenate([frames[at] for at in sorted(frames)])


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_it_is_what_a_loop_over_steps_and_gates_gives(number):
    model, params, output = _case(number)
    for row, x in enumerate(_x()):
        codes, x_hat = _by_hand(model, params, x.astype(np.float64))
        np.testing.assert_allclose(output.codes[row], codes, atol=1e-5)
        np.testing.assert_allclose(output.x_hat[row], x_hat, atol=1e-5)


def test_without_a_future_it_writes_what_it_read():
    model, params, output = _case(0, after=0)
    assert "future" not in params
    assert output.x_hat.shape == (3, T * WIDTH)
    np.testing.assert_allclose(output.x_hat[0], _by_hand(model, params, _x()[0])[1], atol=1e-5)


def test_logits_are_what_the_sigmoid_is_applied_to():
    output = _case(1)[2]
    np.testing.assert_allclose(output.x_hat, jax.nn.sigmoid(output.extras["logits"]), atol=1e-7)
    assert "logits" not in _case(0)[2].extras


def test_all_that_the_writers_know_is_the_code():
    model, params, output = _case(0)
    params = jax.tree.map(jnp.asarray, params)
    blind = {**params, "w_enc": jnp.zeros_like(params["w_enc"])}
    x_hat = base.forward(model, blind, {}, jnp.asarray(_x()), _context())[0].x_hat
    np.testing.assert_allclose(x_hat, np.broadcast_to(x_hat[:1], x_hat.shape), atol=1e-6)
    assert np.abs(output.x_hat - output.x_hat[:1]).max() > 0.01


def test_bias_mean_starts_at_the_mean_step():
    x = jnp.asarray(_x())
    mean = _x().reshape(-1, WIDTH).mean(axis=0)
    for output, undo in (("identity", lambda b: b), ("sigmoid", _sigmoid)):
        params, _ = base.init(_model(bias="mean", output=output), jax.random.key(0), x)
        np.testing.assert_allclose(undo(params["past"]["b_out"]), mean, atol=1e-6)


def test_matrices_of_the_state_start_orthogonal_and_the_forget_gate_open():
    params, _ = base.init(_model(cell="lstm"), jax.random.key(0), jnp.asarray(_x()))
    for name in ("reader", "past", "future"):
        blocks = np.asarray(params[name]["w_state"]).reshape(HIDDEN, 4, HIDDEN)
        for gate in range(4):
            block = blocks[:, gate]
            np.testing.assert_allclose(block @ block.T, np.eye(HIDDEN), atol=1e-5)
        np.testing.assert_array_equal(params[name]["b"].reshape(4, HIDDEN)[:, 0], [0, 1, 0, 0])


@pytest.mark.parametrize("number", [0, 3])
def test_gradients_are_finite_differences(number):
    model, params, _ = _case(number)
    with jax.enable_x64(True):
        model = dataclasses.replace(model, activation=identity.Activation())
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        x = jnp.asarray(_x(2), jnp.float64)

        def loss(params):
            return (base.forward(model, params, {}, x, _context())[0].x_hat ** 2).sum()

        check_grads(jax.jit(loss), (params,), 1, ["rev"], 1e-6, 1e-6)


@pytest.fixture
def unchecked():
    """No checks of types, which in tests would speak before the model does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(grid=None), "have no steps"),
        (dict(grid=(12,)), "have no steps"),
        (dict(d_out=13), "cannot write 13"),
        (dict(d_out=9), "cannot write 9"),
        (dict(cell="grru"), 'cell="grru"'),
        (dict(hidden=0), "hidden=0"),
        (dict(output="tanh"), 'output="tanh"'),
        (dict(bias="median"), 'bias="median"'),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        _model(**fields)
