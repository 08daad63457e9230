"""Transcoders against NumPy, and metrics of targets that have another shape than the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import relu, topk
from sae_jax.losses import reconstruction, sparsity
from sae_jax.metrics import fvu, l0, mse
from sae_jax.models import transcoder
from tests import jitted

D_IN, D_OUT, D_SAE, ROWS = 4, 3, 7, 5
RNG = np.random.RandomState(0)
X, Y = RNG.randn(ROWS, D_IN), RNG.randn(ROWS, D_OUT)
PARAMS = {
    "w_enc": RNG.randn(D_IN, D_SAE),
    "b_enc": 0.3 * RNG.randn(D_SAE),
    "w_dec": RNG.randn(D_SAE, D_OUT),
    "b_dec": RNG.randn(D_OUT),
}
SKIPS = {
    "none": {},
    "full": {"w_skip": RNG.randn(D_IN, D_OUT)},
    "low_rank": {"w_skip_in": RNG.randn(D_IN, 2), "w_skip_out": RNG.randn(2, D_OUT)},
}
BATCH = types.Batch(x=jnp.asarray(X, jnp.float32), y=jnp.asarray(Y, jnp.float32))


def _context(train=False):
    return types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), train)


def _float32(params):
    return {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}


def _model(skip, activation=None):
    activation = relu.Activation() if activation is None else activation
    return transcoder.Model(D_IN, D_OUT, D_SAE, activation, skip=skip, rank=2)


def _by_hand(skip):
    codes = np.maximum(X @ PARAMS["w_enc"] + PARAMS["b_enc"], 0)
    skipped = {"none": 0.0, "full": SKIPS["full"].get("w_skip")}.get(skip)
    if skip == "low_rank":
        skipped = SKIPS[skip]["w_skip_in"] @ SKIPS[skip]["w_skip_out"]
    linear = 0.0 if skip == "none" else X @ skipped
    return codes, codes @ PARAMS["w_dec"] + PARAMS["b_dec"] + linear


@pytest.mark.parametrize("skip", SKIPS)
def test_what_is_written_is_that_of_numpy(skip):
    params = _float32({**PARAMS, **SKIPS[skip]})
    output, _ = jitted.forward(_model(skip), params, {}, BATCH.x, _context())
    codes, y_hat = _by_hand(skip)
    assert 0.2 < (codes > 0).mean() < 0.8
    np.testing.assert_allclose(output.codes, codes, atol=1e-5)
    np.testing.assert_allclose(output.x_hat, y_hat, atol=1e-5)


def test_metrics_of_the_target_are_those_of_numpy():
    params = _float32({**PARAMS, **SKIPS["full"]})
    output, _ = jitted.forward(_model("full"), params, {}, BATCH.x, _context())
    codes, y_hat = _by_hand("full")
    reference = jnp.asarray(Y[:2].mean(axis=0), jnp.float32)
    found = {}
    for metric in (fvu, l0, mse):
        sums = metric.sums(BATCH, output, reference)
        found |= metric.finish({name: np.asarray(total) for name, total in sums.items()})
    error = ((Y - y_hat) ** 2).sum()
    assert found["fvu"] == pytest.approx(error / ((Y - Y.mean(axis=0)) ** 2).sum(), rel=1e-4)
    assert found["mse_sum"] == pytest.approx(error / ROWS, rel=1e-4)
    assert found["l0"] == (codes != 0).sum() / ROWS


@pytest.mark.parametrize("skip", ["none", "full"])
def test_sparse_codes_give_the_numbers_and_the_gradients_of_dense_ones(skip):
    def loss(params, form):
        model = _model(skip, topk.Activation(k=2, relu=True, form=form))
        output, _ = jitted.forward(model, params, {}, BATCH.x, _context(train=True))
        assert isinstance(output.codes, types.Codes) == (form == "sparse")
        error = reconstruction.mse_sum(params, BATCH, output, _context())
        return (error + 0.3 * sparsity.l1_decoder_norm(params, BATCH, output, _context())).mean()

    params = _float32({**PARAMS, **SKIPS[skip]})
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    dense, sparse = run(params, "dense"), run(params, "sparse")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), sparse, dense)


@pytest.mark.parametrize("skip", SKIPS)
def test_a_skip_starts_as_nothing_and_latents_in_unit_directions(skip):
    params, _ = jitted.init(_model(skip), jax.random.key(0), BATCH.x)
    assert params.keys() == {**PARAMS, **SKIPS[skip]}.keys()
    without, _ = jitted.forward(
        _model("none"), {name: params[name] for name in PARAMS}, {}, BATCH.x, _context()
    )
    output, _ = jitted.forward(_model(skip), params, {}, BATCH.x, _context())
    np.testing.assert_array_equal(output.x_hat, without.x_hat)
    np.testing.assert_allclose(np.linalg.norm(params["w_enc"], axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(params["w_dec"], axis=1), 1, rtol=1e-5)


def test_codes_are_decoded_without_the_skip():
    model, params = _model("full"), _float32({**PARAMS, **SKIPS["full"]})
    codes, y_hat = _by_hand("none")
    found = model.apply({"params": params}, jnp.asarray(codes, jnp.float32), method="decode")
    np.testing.assert_allclose(found, y_hat, atol=1e-5)
