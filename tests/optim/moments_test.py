"""Moments in few bits: they follow those of float32, and what they are trained by does too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax.ops import rounding
from sae_jax.optim import moments, optimizers

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 64, 16


def _array(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def _read(state):
    """m and v of the one matrix in a state."""
    if state.mu["w"].dtype == jnp.bfloat16:
        return np.asarray(state.mu["w"], np.float32), np.asarray(state.nu["w"], np.float32)
    m = moments._read_m(state.mu["w"], state.mu_scale["w"])
    return np.asarray(m), np.asarray(moments._read_v(state.nu["w"], state.nu_scale["w"]))


def _followed(kind, gradients, b2=0.999):
    """m and v after the gradients, in few bits and in float64."""
    of = moments.scale_by_adam(0.9, b2, 1e-8, kind)
    state = of.init({"w": gradients[0]})
    update = jax.jit(of.update)
    m = v = np.zeros(gradients[0].shape)
    for g in gradients:
        state = update({"w": g}, state)[1]
        m, v = 0.9 * m + 0.1 * np.asarray(g), b2 * v + (1 - b2) * np.asarray(g, float) ** 2
    return _read(state), (m, v)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_v_rises_and_falls_as_in_float32(kind):
    """To the nearest it would stay where it is: a thousandth of it is less than half a step."""
    size = 10.0 ** jnp.linspace(-3, 0, COLUMNS)[None]
    (_, v), (_, expected) = _followed(
        kind, [_array(ROWS, COLUMNS) * size * (3 if i < 500 else 0.1) for i in range(2000)]
    )
    ratio = v / expected
    np.testing.assert_allclose(ratio.mean(axis=0), 1, atol=0.15)
    assert ratio.std() < {"bfloat16": 0.1, "int8": 0.4}[kind]


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_m_is_right_on_average(kind):
    drift = _array(1, COLUMNS)
    (m, _), (expected, _) = _followed(kind, [drift + _array(ROWS, COLUMNS) for _ in range(50)])
    error = (m - expected) / np.abs(expected).mean()
    assert np.abs(error.mean(axis=0)).max() < 0.05
    assert error.std() < {"bfloat16": 0.01, "int8": 0.15}[kind]


@pytest.mark.parametrize(("largest", "read"), [(127, moments._read_m), (255, moments._read_v)])
def test_a_code_is_read_as_what_was_written(largest, read):
    codes = jnp.arange(largest + 1, dtype=jnp.uint8)
    values = read(codes, jnp.ones(()))
    assert values[0] == 0
    assert values[-1] == 1
    gaps = values[2:] / values[1:-1]
    assert 1 + 1 / 16 < gaps.min() < gaps.max() <= 1 + 1 / 8
    for chance in (0, 0xFFFF):
        found = moments._code(values, largest, jnp.full(values.shape, chance, jnp.uint32))
        np.testing.assert_array_equal(found, codes)
    if largest == 127:
        negative = moments._write_m(-values, jnp.ones(()), jnp.zeros(values.shape, jnp.uint32))
        np.testing.assert_array_equal(read(negative, jnp.ones(())), -values)


@pytest.mark.parametrize("value", [0.3, 0.03, 2e-4, 1.1e-5])
def test_the_mean_of_what_is_kept_is_what_was_given(value):
    chance = rounding.chance((200, 200), jnp.asarray(5))
    read = moments._read_m(moments._write_m(jnp.full(chance.shape, value), 1.0, chance >> 16), 1.0)
    sd = float(read.std())
    assert abs(float(read.mean()) - value) < 5 * sd / 200 + 1e-4 * value
    halves = rounding.to_bfloat16(jnp.full(chance.shape, value), chance >> 16)
    assert abs(float(halves.astype(jnp.float32).mean()) - value) < 1e-4 * value


def test_v_that_is_not_zero_is_never_kept_as_zero():
    v = jnp.asarray([0.0, 1e-30, 1e-12, 1.0])
    for chance in (0, 0xFFFF):
        codes = moments._write_v(v, jnp.ones(()), jnp.full(4, chance, jnp.uint32))
        np.testing.assert_array_equal(np.asarray(codes) > 0, [False, True, True, True])


def test_latents_without_a_gradient_forget_at_the_same_rate_as_in_float32():
    zeros = jnp.zeros((ROWS, COLUMNS))
    found, expected = _followed("int8", [_array(ROWS, COLUMNS), *[zeros] * 60])
    for ours, right in zip(found, expected, strict=True):
        assert 0.85 < np.abs(ours).mean() / np.abs(right).mean() < 1.15


def test_vectors_and_the_memory_of_matrices():
    params = {"w": jnp.zeros((ROWS, COLUMNS)), "b": jnp.zeros(ROWS)}
    state = moments.scale_by_adam(0.9, 0.999, 1e-8, "int8").init(params)
    assert state.mu["w"].nbytes == state.nu["w"].nbytes == ROWS * COLUMNS
    assert state.mu_scale["w"].shape == (ROWS, 1)
    assert state.mu["b"].dtype == jnp.float32


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_first_step_is_adams(kind, weight_decay):
    params, grads = {"w": _array(8, 4)}, {"w": _array(8, 4)}
    ours = optimizers.adam(lambda step: 0.1, moments=kind, weight_decay=weight_decay)
    theirs = optimizers.adam(lambda step: 0.1, weight_decay=weight_decay)
    found, expected = (of.update(grads, of.init(params), params)[0] for of in (ours, theirs))
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-5)


def _trained(optimizer, steps=400):
    """The loss of a small TopK autoencoder after some steps, a mean over the last tenth."""
    d_in, d_sae, k = 12, 48, 4
    rng = np.random.default_rng(1)
    atoms = rng.standard_normal((24, d_in))
    w_dec = jnp.asarray(rng.standard_normal((d_sae, d_in)) / 3, jnp.float32)
    params = {"w_enc": w_dec.T, "w_dec": w_dec, "b": jnp.zeros(d_sae)}

    def loss(params, x):
        pre = x @ params["w_enc"] + params["b"][None]
        values, indices = jax.lax.top_k(pre, k)
        codes = jnp.zeros_like(pre).at[jnp.arange(len(x))[:, None], indices].set(values)
        return ((codes @ params["w_dec"] - x) ** 2).sum(axis=1).mean()

    @jax.jit
    def step(params, state, x):
        value, grads = jax.value_and_grad(loss)(params, x)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    for _ in range(steps):
        on = (rng.random((256, 24)) < 0.1) * rng.exponential(1, (256, 24))
        params, state, value = step(params, state, jnp.asarray(on @ atoms, jnp.float32))
        losses.append(float(value))
    return np.mean(losses[-steps // 10 :]) / losses[0]


def test_an_autoencoder_learns_as_with_adam_in_float32():
    expected = _trained(optimizers.adam(lambda step: 3e-3))
    assert expected < 0.2
    for kind in ("bfloat16", "int8"):
        found = _trained(optimizers.adam(lambda step: 3e-3, moments=kind))
        assert abs(found / expected - 1) < 0.05, (kind, found, expected)


def test_other_moments_are_refused():
    with pytest.raises(ValueError, match='moments="int4": choose float32, bfloat16 or int8'):
        optimizers.adam(lambda step: 0.1, moments="int4")
