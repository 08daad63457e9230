import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.models import base, conv_wta

GRID = (5, 6, 1)


def _context(train):
    return types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool), train=train
    )


def _forward(model, x, train):
    params, _ = base.init(model, jax.random.key(0), x)
    return base.forward(model, params, {}, x, _context(train))[0], params


def _x(rows=4, grid=GRID):
    return np.random.RandomState(0).rand(rows, int(np.prod(grid))).astype(np.float32)


def _correlate(x, w, b):
    """`[h, w, c_in]`, zeros beyond the edge, in loops."""
    height, width, _ = x.shape
    side = w.shape[0]
    padded = np.pad(x, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    out = np.empty((height, width, w.shape[-1]))
    for i in range(height):
        for j in range(width):
            out[i, j] = np.tensordot(padded[i : i + side, j : j + side], w, 3) + b
    return out


def _by_hand(params, x, share=None):
    """Maps before the last ReLU, winners, reconstruction; `share` None: when nothing is trained."""
    params = jax.tree.map(np.asarray, params)
    pre = []
    for row in x.reshape(-1, *GRID):
        h = np.maximum(_correlate(row, **params["enc_0"]), 0)
        pre.append(_correlate(h, **params["enc_1"]))
    pre = np.asarray(pre)
    winners = np.zeros_like(pre)
    for m in range(pre.shape[-1]):
        best = pre[..., m].reshape(len(x), -1).max(axis=1)
        kept = range(len(x)) if share is None else np.argsort(-best)[: round(share * len(x))]
        for b in kept:
            place = np.unravel_index(pre[b, ..., m].argmax(), GRID[:2])
            winners[(b, *place, m)] = max(best[b], 0)
    x_hat = [_correlate(row, **params["dec_0"]) for row in winners]
    return pre, winners, np.asarray(x_hat).reshape(x.shape)


def _model(**fields):
    chosen = dict(channels=(3, 4), kernel=3, decoder_kernel=5, share=0.5, pool=6, pool_stride=6)
    return conv_wta.Model(**(dict(d_in=30, grid=GRID) | chosen | fields))


@pytest.mark.parametrize("train", [True, False])
def test_winners_in_space_and_in_training_over_the_batch(train):
    x = _x()
    shapes = jax.eval_shape(lambda: _forward(_model(), jnp.asarray(x), train)[1])
    rng = np.random.RandomState(1)
    params = jax.tree.map(lambda leaf: rng.randn(*leaf.shape).astype(np.float32), shapes)
    run = jax.jit(lambda params, x: base.forward(_model(), params, {}, x, _context(train))[0])
    output = run(params, x)
    pre, winners, x_hat = _by_hand(params, x, 0.5 if train else None)
    assert (winners > 0).any(axis=(0, 1, 2)).sum() >= 2
    np.testing.assert_allclose(output.x_hat, x_hat, rtol=1e-4, atol=1e-4)
    shown = winners if train else np.maximum(pre, 0)
    np.testing.assert_allclose(output.codes, shown.max(axis=(1, 2)), atol=1e-4)  # One window.
    np.testing.assert_allclose(output.pre, pre.max(axis=(1, 2)), atol=1e-4)


@pytest.mark.parametrize("grid", [(7, 9, 2), (13, 1), (28, 28, 1)])
def test_what_comes_out_has_the_size_of_what_went_in(grid):
    model = conv_wta.Model(int(np.prod(grid)), grid, channels=(3, 4), pool_stride=4)
    output, _ = jax.eval_shape(lambda: _forward(model, jnp.asarray(_x(2, grid)), train=True))
    windows = int(np.prod([-(-n // 4) for n in grid[:-1]]))
    assert output.x_hat.shape == (2, int(np.prod(grid)))
    assert output.codes.shape == output.pre.shape == (2, 4 * windows)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(grid=None), "grid None cannot be convolved"),
        (dict(channels=()), "one layer at least"),
        (dict(decoder_kernel=0), "decoder_kernel=0"),
        (dict(share=0.0), "above 0 and at most 1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        _model(**fields)
