import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from sae_jax import types
from sae_jax.models import base, vq

GRID, ENTRIES, WIDTH = (6, 5, 2), 7, 3
PLACES = 3 * 3


def _context(train=True):
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        dead=jnp.zeros(ENTRIES, bool),
        train=train,
    )


def _x(rows=4, seed=0):
    return jnp.asarray(np.random.RandomState(seed).rand(rows, 60), jnp.float32)


@functools.cache
def _made(**kwargs):
    fields = dict(d_in=60, d_sae=ENTRIES, grid=GRID, width=WIDTH, channels=(4,), blocks=0) | kwargs
    model = vq.Model(**fields)
    params, stats = jax.jit(base.init, static_argnums=0)(model, jax.random.key(0), _x(40))
    return model, params, stats


_forward = jax.jit(base.forward, static_argnums=0)


def _distances(z, entries):
    z, entries = np.asarray(z, np.float64), np.asarray(entries, np.float64)
    return ((z[:, :, None] - entries[None, None]) ** 2).sum(axis=-1)


def _index(output, entries):
    return _distances(output.extras["encoded"], entries).argmin(axis=-1)


@pytest.mark.parametrize("update", [{}, dict(update="average", decay=0.5)])
def test_each_place_becomes_its_nearest_entry(update):
    model, params, stats = _made(**update)
    output, _ = _forward(model, params, stats, _x(), _context())
    entries = np.asarray((stats or params)["codebook"])
    z = output.extras["encoded"]
    assert z.shape == (4, PLACES, WIDTH)
    distance = _distances(z, entries)
    index = distance.argmin(axis=-1)
    assert len(np.unique(index)) > 2
    np.testing.assert_allclose(output.extras["quantised"], entries[index], atol=1e-6)
    np.testing.assert_allclose(output.pre, -distance.mean(axis=1), atol=1e-4)


def test_codes_are_how_often_each_entry_is_used():
    model, params, stats = _made()
    output, _ = _forward(model, params, stats, _x(), _context())
    for codes, index in zip(output.codes, _index(output, params["codebook"]), strict=True):
        np.testing.assert_allclose(codes, np.bincount(index, minlength=ENTRIES) / PLACES, rtol=1e-6)


def test_the_decoder_sees_nothing_but_entries():
    """An encoder's output may move within its cell: the reconstruction stays."""
    model, params, stats = _made()
    before, _ = _forward(model, params, stats, _x(), _context())
    moved = {**params, "b_enc": params["b_enc"] + 1e-4}
    after, _ = _forward(model, moved, stats, _x(), _context())
    index = [_index(output, params["codebook"]) for output in (before, after)]
    same = (index[0] == index[1]).all(axis=1)
    assert same.any()
    np.testing.assert_allclose(after.x_hat[same], before.x_hat[same], atol=1e-5)


def test_the_gradient_goes_straight_through_and_past_the_codebook():
    model, params, stats = _made()
    x = _x()

    def loss(params, shift):
        moved = {**params, "b_enc": params["b_enc"] + shift}
        output, _ = base.forward(model, moved, stats, x, _context())
        return (output.x_hat**2).sum(), output

    zero = jnp.zeros(WIDTH)
    slopes, by_shift = jax.jit(lambda p: jax.grad(loss, (0, 1), has_aux=True)(p, zero)[0])(params)
    np.testing.assert_array_equal(slopes["codebook"], np.zeros((ENTRIES, WIDTH)))
    # To the decoder a shift of every z_q is a shift of its own bias: b_dec + shift w_dec.
    expected = params["w_dec"] @ slopes["b_dec"]
    np.testing.assert_allclose(by_shift, expected, rtol=1e-3)
    assert np.abs(by_shift).min() > 1e-3


def test_the_codebook_starts_near_outputs_of_the_encoder():
    model, params, stats = _made()
    z = _forward(model, params, stats, _x(40), _context())[0].extras["encoded"]
    near = np.sqrt(_distances(z, params["codebook"]).min(axis=(0, 1)))
    assert near.min() > 0
    assert near.max() < 0.1 * np.asarray(z).std()
    apart = _distances(params["codebook"][None], params["codebook"])[0] + np.eye(ENTRIES)
    assert apart.min() > 1e-6


def test_the_average_moves_as_in_the_paper():
    model, params, stats = _made(update="average", decay=0.5)
    assert "codebook" not in params
    output, after = _forward(model, params, stats, _x(), _context())
    z = np.asarray(output.extras["encoded"], np.float64).reshape(-1, WIDTH)
    index = _index(output, stats["codebook"]).reshape(-1)
    for j in range(ENTRIES):
        mine = z[index == j]
        n = 0.5 * float(stats["used"][j]) + 0.5 * len(mine)
        m = 0.5 * float(stats["used"][j]) * np.asarray(stats["codebook"][j]) + 0.5 * mine.sum(0)
        np.testing.assert_allclose(after["used"][j], n, rtol=1e-5)
        np.testing.assert_allclose(after["codebook"][j], m / n, atol=1e-5)


def test_the_average_finds_the_centres_of_what_falls_to_each_entry():
    model, params, stats = _made(update="average", decay=0.5)
    for _ in range(60):
        output, stats = _forward(model, params, stats, _x(), _context())
    z = np.asarray(output.extras["encoded"], np.float64).reshape(-1, WIDTH)
    index = _index(output, stats["codebook"]).reshape(-1)
    for j in np.unique(index):
        np.testing.assert_allclose(stats["codebook"][j], z[index == j].mean(axis=0), atol=1e-4)


def test_an_entry_that_is_never_used_stays_where_it_is():
    model, params, stats = _made(update="average", decay=0.5)
    far = {**stats, "codebook": stats["codebook"].at[2].set(50.0)}
    for _ in range(3):
        _, far = _forward(model, params, far, _x(), _context())
    np.testing.assert_allclose(far["codebook"][2], np.full(WIDTH, 50.0), rtol=1e-6)
    for _ in range(3):
        _, far = _forward(model, params, {**far, "used": far["used"] * 1e-30}, _x(), _context())
    np.testing.assert_allclose(far["codebook"][2], np.full(WIDTH, 50.0), rtol=1e-6)


def test_nothing_moves_at_rest():
    model, params, stats = _made(update="average", decay=0.5)
    _, after = _forward(model, params, stats, _x(), _context(train=False))
    jax.tree.map(np.testing.assert_array_equal, after, stats)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(d_sae=0), "d_sae=0"),
        (dict(width=0), "width=0"),
        (dict(channels=(4, 0)), "channels="),
        (dict(blocks=-1), "blocks=-1"),
        (dict(decay=1.0), "decay=1.0"),
        (dict(update="ema"), "update"),
        (dict(output="softmax"), "output"),
        (dict(grid=None), "vq needs pictures"),
        (dict(grid=(30, 2)), "vq needs pictures"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match=message):
        vq.Model(**{**dict(d_in=60, d_sae=ENTRIES, grid=GRID), **wrong})
