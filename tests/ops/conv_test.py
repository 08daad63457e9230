import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from sae_jax.ops import conv

CASES = [  # size, kernel, stride.
    ((9,), 3, 1),
    ((9,), 4, 2),
    ((7,), 5, 3),
    ((5, 8), 3, 2),
    ((7, 6), 2, 3),
    ((4, 5), 5, 1),
]
every_case = pytest.mark.parametrize(("size", "kernel", "stride"), CASES)


def _arrays(size, kernel, stride, c_in=2, c_out=3):
    rng = np.random.RandomState(0)
    x = rng.randn(2, *size, c_in).astype(np.float32)
    w = rng.randn(*[kernel] * len(size), c_in, c_out).astype(np.float32)
    y = rng.randn(2, *conv.smaller(size, stride), c_out).astype(np.float32)
    return x, w, y


def _padding(n, kernel, stride):
    beyond = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return beyond // 2, beyond - beyond // 2


def _by_scipy(x, w, stride):
    """Pads, correlates each channel with SciPy, and keeps every `stride`-th place."""
    size, kernel = x.shape[1:-1], w.shape[0]
    x = np.pad(x, [(0, 0), *[_padding(n, kernel, stride) for n in size], (0, 0)])
    out = [
        [
            sum(
                signal.correlate(x[b, ..., i], w[..., i, o], mode="valid")
                for i in range(x.shape[-1])
            )
            for o in range(w.shape[-1])
        ]
        for b in range(len(x))
    ]
    every = (slice(None), *[slice(None, None, stride)] * len(size))
    return np.moveaxis(np.asarray(out), 1, -1)[every]


@every_case
def test_convolve_is_that_of_scipy(size, kernel, stride):
    x, w, _ = _arrays(size, kernel, stride)
    np.testing.assert_allclose(
        jax.jit(conv.convolve, static_argnums=2)(x, w, stride), _by_scipy(x, w, stride), atol=1e-4
    )


@every_case
def test_transposed_is_the_transpose_and_has_the_size_it_is_asked_for(size, kernel, stride):
    x, w, y = _arrays(size, kernel, stride)
    back = jax.jit(conv.transposed, static_argnums=(2, 3))(y, w, size, stride)
    assert back.shape == x.shape
    np.testing.assert_allclose(
        np.vdot(back, x), np.vdot(y, _by_scipy(x, w, stride)), rtol=1e-4, atol=1e-3
    )


@every_case
def test_gradients_are_those_of_the_definitions(size, kernel, stride):
    """Both are linear in each argument: a difference quotient is exact but for rounding."""
    x, w, y = _arrays(size, kernel, stride)

    def inner(x, w, y):  # <y, convolve(x, w)> = <transposed(y, w), x>, float64.
        return np.vdot(y, _by_scipy(x, w, stride))

    def slopes(x, w, y):
        forth = jax.jit(jax.grad(lambda x, w: (conv.convolve(x, w, stride) * y).sum(), (0, 1)))(
            x, w
        )
        back = jax.jit(
            jax.grad(lambda y, w: (conv.transposed(y, w, size, stride) * x).sum(), (0, 1))
        )(y, w)
        return {"x": forth[0], "w": forth[1], "y": back[0], "w of transposed": back[1]}

    given = {"x": x, "w": w, "y": y}
    rng = np.random.RandomState(1)
    for name, slope in jax.jit(slopes)(x, w, y).items():
        move = rng.randn(*slope.shape)
        up, down = (
            inner(**{**given, name[0]: given[name[0]].astype(np.float64) + s * move})
            for s in (1, -1)
        )
        np.testing.assert_allclose(np.vdot(slope, move), (up - down) / 2, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "window", "stride"), [((6,), 2, 2), ((7,), 3, 2), ((5, 8), 2, 2), ((7, 9), 6, 4)]
)
def test_max_pool_takes_the_largest_of_each_window(size, window, stride):
    x = np.random.RandomState(0).randn(2, *size, 3).astype(np.float32)
    got = jax.jit(functools.partial(conv.max_pool, window=window, stride=stride))(x)
    assert got.shape == (2, *conv.smaller(size, stride), 3)
    for place in np.ndindex(*got.shape[1:-1]):
        start = [
            p * stride - _padding(n, window, stride)[0] for p, n in zip(place, size, strict=True)
        ]
        cut = tuple(slice(max(s, 0), s + window) for s in start)
        expected = x[(slice(None), *cut)].max(axis=tuple(range(1, 1 + len(size))))
        np.testing.assert_array_equal(got[(slice(None), *place)], expected)


def test_max_pool_sends_the_gradient_to_the_largest():
    x = jnp.asarray([[1.0, 3.0, 2.0, -1.0, 0.5]])[..., None]
    slope = jax.jit(jax.grad(lambda x: (conv.max_pool(x, 2, 2) ** 2).sum()))(x)
    np.testing.assert_array_equal(slope[0, :, 0], [0.0, 6.0, 4.0, 0.0, 1.0])
