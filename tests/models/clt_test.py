"""Cross-layer transcoders against NumPy: which layers latents write, and what they cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import jumprelu, relu
from sae_jax.losses import jumps
from sae_jax.models import clt
from tests import jitted

LAYERS, D, D_OUT, N, ROWS = 3, 4, 2, 5, 6
RNG = np.random.RandomState(0)
X = RNG.randn(ROWS, LAYERS * D)
PARAMS: dict = {
    f"layer_{place}": {
        "w_enc": RNG.randn(D, N),
        "b_enc": 0.3 * RNG.randn(N),
        "w_dec": RNG.randn(N, (LAYERS - place) * D_OUT),
    }
    for place in range(LAYERS)
} | {"b_dec": RNG.randn(LAYERS * D_OUT)}
BATCH = types.Batch(x=jnp.asarray(X, jnp.float32), y=jnp.zeros((ROWS, LAYERS * D_OUT)))
THETA = np.full(LAYERS * N, 0.2)


def _context():
    return types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros((), bool))


def _model(activation=None, **kwargs):
    activation = relu.Activation() if activation is None else activation
    return clt.Model(LAYERS * D, LAYERS * D_OUT, LAYERS * N, activation, (LAYERS, D), **kwargs)


def _float32(params):
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), params)


def _pre():
    read = [X[:, place * D : (place + 1) * D] for place in range(LAYERS)]
    parts = [PARAMS[f"layer_{place}"] for place in range(LAYERS)]
    return np.concatenate(
        [x @ p["w_enc"] + p["b_enc"] for x, p in zip(read, parts, strict=True)], axis=1
    )


def test_a_layer_is_written_by_its_own_latents_and_those_before_it():
    output, _ = jitted.forward(_model(), _float32(PARAMS), {}, BATCH.x, _context())
    codes = np.maximum(_pre(), 0)
    np.testing.assert_allclose(output.pre, _pre(), atol=1e-5)
    np.testing.assert_allclose(output.codes, codes, atol=1e-5)
    for layer in range(LAYERS):
        here = slice(layer * D_OUT, (layer + 1) * D_OUT)
        y_hat = np.zeros((ROWS, D_OUT)) + PARAMS["b_dec"][here]
        for source in range(layer + 1):
            start = (layer - source) * D_OUT
            block = PARAMS[f"layer_{source}"]["w_dec"][:, start : start + D_OUT]
            y_hat += codes[:, source * N : (source + 1) * N] @ block
        np.testing.assert_allclose(output.x_hat[:, here], y_hat, atol=1e-5)
    decoded = _model().apply({"params": _float32(PARAMS)}, output.codes, method="decode")
    np.testing.assert_allclose(decoded, output.x_hat, atol=1e-5)


def test_only_the_decoders_that_there_are_are_stored():
    for cross, blocks in ((True, LAYERS * (LAYERS + 1) // 2), (False, LAYERS)):
        params, _ = jitted.init(_model(cross=cross), jax.random.key(0), BATCH.x)
        size = sum(params[f"layer_{place}"]["w_dec"].size for place in range(LAYERS))
        assert size == blocks * N * D_OUT
        for place in range(LAYERS):
            here = params[f"layer_{place}"]
            np.testing.assert_allclose(np.linalg.norm(here["w_dec"], axis=1), 1, rtol=1e-5)
            np.testing.assert_allclose(np.linalg.norm(here["w_enc"], axis=0), 1, rtol=1e-5)


def test_without_cross_layers_do_not_meet():
    model = _model(cross=False)
    params, _ = jitted.init(model, jax.random.key(0), BATCH.x)

    def last(x):
        return model.apply({"params": params}, x, _context()).x_hat[:, -D_OUT:].sum()

    slope = np.asarray(jax.jit(jax.grad(last))(BATCH.x))
    np.testing.assert_array_equal(slope[:, : (LAYERS - 1) * D], 0)
    assert np.abs(slope[:, (LAYERS - 1) * D :]).max() > 0


def test_penalties_are_of_the_norm_of_the_whole_row():
    model = _model(jumprelu.Activation(start=0.2))
    params = _float32(PARAMS | {"activation": {"threshold": THETA}})
    stats = {"activation": {"factor": jnp.ones(())}}
    output, _ = jitted.forward(model, params, stats, BATCH.x, _context())
    norms = np.concatenate(
        [np.linalg.norm(PARAMS[f"layer_{place}"]["w_dec"], axis=1) for place in range(LAYERS)]
    )
    pre = _pre()
    codes = np.where(pre > 0.2, pre, 0)
    found = jumps.tanh(params, BATCH, output, _context(), c=0.7)
    np.testing.assert_allclose(found, np.tanh(0.7 * codes * norms).sum(axis=1), rtol=1e-5)
    found = jumps.pre_activation(params, BATCH, output, _context())
    expected = (np.maximum(0.2 - pre, 0) * norms).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_penalties_move_every_decoder_as_their_formula_says():
    model = _model()

    def total(params):
        output, _ = jitted.forward(model, params, {}, BATCH.x, _context())
        return jumps.tanh(params, BATCH, output, _context(), c=0.7).sum()

    found = jax.jit(jax.grad(total))(_float32(PARAMS))
    codes = np.maximum(_pre(), 0)
    for place in range(LAYERS):
        rows = PARAMS[f"layer_{place}"]["w_dec"]
        norms = np.linalg.norm(rows, axis=1)
        f = codes[:, place * N : (place + 1) * N]
        slope = (0.7 * f / np.cosh(0.7 * f * norms) ** 2).sum(axis=0)
        expected = slope[:, None] * rows / norms[:, None]
        np.testing.assert_allclose(found[f"layer_{place}"]["w_dec"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("grid", "d_sae", "said"),
    [(None, 15, "several layers"), ((3, 4), 16, "d_sae=16"), ((4, 3), 16, "d_out=6")],
)
def test_what_layers_cannot_share_is_refused(grid, d_sae, said):
    with pytest.raises(ValueError, match=said):
        clt.Model(12, 6, d_sae, relu.Activation(), grid)
