"""Crosscoders against NumPy: norms of sites, what they cost and who is kept, and shared latents."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import errors, types
from sae_jax.activations import batch_topk, relu, topk
from sae_jax.losses import dead, reconstruction, sparsity
from sae_jax.models import base, crosscoder
from sae_jax.optim import constraints
from tests import jitted

SITES, D, D_SAE, ROWS = 2, 3, 8, 6
D_IN = SITES * D
RNG = np.random.RandomState(0)
X = RNG.randn(ROWS, D_IN)
PARAMS = {
    "w_enc": RNG.randn(D_IN, D_SAE),
    "b_enc": 0.3 * RNG.randn(D_SAE),
    "w_dec": RNG.randn(D_SAE, D_IN) * np.exp(RNG.randn(D_SAE, 1)),
    "b_dec": RNG.randn(D_IN),
}
PRE = X @ PARAMS["w_enc"] + PARAMS["b_enc"]
NORMS = {
    "sum": np.linalg.norm(PARAMS["w_dec"].reshape(D_SAE, SITES, D), axis=2).sum(axis=1),
    "whole": np.linalg.norm(PARAMS["w_dec"], axis=1),
}
BATCH = types.Batch(x=jnp.asarray(X, jnp.float32))


def _context(train=False, is_dead=False):
    return types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.full(D_SAE, is_dead), train
    )


def _float32(params):
    return {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}


def _model(activation=None, **kwargs):
    activation = relu.Activation() if activation is None else activation
    return crosscoder.Model(D_IN, D_SAE, activation, (SITES, D), **kwargs)


def _forward(model, params=PARAMS, train=False, stats=None):
    return jitted.forward(model, _float32(params), stats or {}, BATCH.x, _context(train))[0]


def test_each_site_is_encoded_and_decoded_by_its_own_weights():
    output = _forward(_model())
    pre = sum(
        X[:, s * D : (s + 1) * D] @ PARAMS["w_enc"][s * D : (s + 1) * D] for s in range(SITES)
    )
    codes = np.maximum(pre + PARAMS["b_enc"], 0)
    np.testing.assert_allclose(output.codes, codes, atol=1e-5)
    for s in range(SITES):
        here = slice(s * D, (s + 1) * D)
        x_hat = codes @ PARAMS["w_dec"][:, here] + PARAMS["b_dec"][here]
        np.testing.assert_allclose(output.x_hat[:, here], x_hat, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_latent_costs_the_sum_of_its_norms_or_that_of_the_whole(norm):
    output = _forward(_model(norm=norm))
    found = sparsity.l1_decoder_norm(_float32(PARAMS), BATCH, output, _context())
    np.testing.assert_allclose(found, np.maximum(PRE, 0) @ NORMS[norm], rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_penalty_has_the_gradient_of_its_formula(norm):
    def total(params):
        output, _ = jitted.forward(_model(norm=norm), params, {}, BATCH.x, _context())
        return sparsity.l1_decoder_norm(params, BATCH, output, _context()).sum()

    found = jax.jit(jax.grad(total))(_float32(PARAMS))
    codes, rows = np.maximum(PRE, 0), PARAMS["w_dec"].reshape(D_SAE, SITES, D)
    each = np.linalg.norm(rows, axis=2, keepdims=True)
    scale = each if norm == "sum" else NORMS["whole"][:, None, None]
    slope = codes.sum(axis=0)[:, None, None] * rows / scale
    np.testing.assert_allclose(found["w_dec"], slope.reshape(D_SAE, D_IN), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["b_enc"], (PRE > 0).sum(axis=0) * NORMS[norm], rtol=1e-5)


def test_batch_topk_keeps_what_writes_most_and_decodes_it_unscaled():
    model = _model(batch_topk.Activation(k=2), rescale=True)
    stats = {"activation": {"sum": jnp.zeros(()), "weight": jnp.zeros(())}}
    variables = {"params": _float32(PARAMS), "stats": stats}
    output, changed = jitted.forward(
        model, variables["params"], stats, BATCH.x, _context(train=True)
    )
    score = PRE * NORMS["sum"]
    least = np.sort(score.ravel())[-2 * ROWS]
    codes = np.where(score >= least, PRE, 0)
    assert (codes != 0).sum() == 2 * ROWS
    plain = np.sort(PRE.ravel())[-2 * ROWS]
    assert ((plain <= PRE) != (least <= score)).any(), "the norms decide nothing here"
    np.testing.assert_allclose(output.codes, codes, rtol=1e-5, atol=1e-6)
    x_hat = codes @ PARAMS["w_dec"] + PARAMS["b_dec"]
    np.testing.assert_allclose(output.x_hat, x_hat, rtol=1e-4, atol=1e-4)
    # At rest the threshold is one of what latents write.
    rest, _ = jitted.forward(model, variables["params"], changed, BATCH.x, _context())
    expected = np.where(score > np.float32(least) * (1 + 1e-5), PRE, 0)
    apart = np.abs(score / least - 1) > 1e-4
    found = np.where(apart, rest.codes, 0)
    np.testing.assert_allclose(found, np.where(apart, expected, 0), atol=1e-5)


def test_norms_that_choose_have_no_gradient():
    def total(params):
        model = _model(topk.Activation(k=3, form="dense"), rescale=True)
        output, _ = jitted.forward(model, params, {}, BATCH.x, _context(train=True))
        return (output.codes**2).sum()

    found = jax.jit(jax.grad(total))(_float32(PARAMS))
    np.testing.assert_array_equal(found["w_dec"], 0)
    assert np.abs(found["w_enc"]).max() > 0


def test_sparse_codes_are_chosen_by_what_they_write_too():
    def loss(params, form):
        model = _model(topk.Activation(k=3, relu=True, form=form), rescale=True, shared=0.25)
        output, _ = jitted.forward(model, params, {}, BATCH.x, _context(train=True))
        assert isinstance(output.codes, types.Codes) == (form == "sparse")
        error = reconstruction.mse_sum(params, BATCH, output, _context())
        return (error + sparsity.l1_designated(params, BATCH, output, _context())).mean()

    params = _float32(PARAMS)
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    dense, sparse = run(params, "dense"), run(params, "sparse")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), sparse, dense)


def test_shared_latents_cost_less_and_have_one_row_at_all_sites():
    model = _model(shared=0.5)
    output = _forward(model)
    w_dec = PARAMS["w_dec"].reshape(D_SAE, SITES, D).copy()
    w_dec[:4] = w_dec[:4].mean(axis=1, keepdims=True)
    codes = np.maximum(PRE, 0)
    x_hat = codes @ w_dec.reshape(D_SAE, D_IN) + PARAMS["b_dec"]
    np.testing.assert_allclose(output.x_hat, x_hat, atol=1e-4)
    norms = np.linalg.norm(w_dec, axis=2).sum(axis=1)
    found = sparsity.l1_designated(_float32(PARAMS), BATCH, output, _context(), shared=0.3)
    price = np.asarray([0.3] * 4 + [1.0] * 4)
    np.testing.assert_allclose(found, codes @ (price * norms), rtol=1e-5)


@pytest.mark.parametrize("constraint", [constraints.none(), constraints.unit_norm()])
def test_rows_of_shared_latents_stay_equal_while_they_are_trained(constraint):
    model = _model(topk.Activation(k=3, relu=True), shared=0.5, rescale=True)
    params, _ = jitted.init(model, jax.random.key(0), BATCH.x)
    params = constraint.project(params)
    optimizer = optax.chain(optax.adam(1e-2), constraint.link)
    state = optimizer.init(params)

    def loss(params):
        context = _context(train=True, is_dead=True)
        output, _ = jitted.forward(model, params, {}, BATCH.x, context)
        error = reconstruction.mse_sum(params, BATCH, output, context)
        return (error + dead.auxk(params, BATCH, output, context, k=3)).mean()

    @jax.jit
    def move(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    before = params
    for _ in range(5):
        params, state = move(params, state)
    rows = np.asarray(params["w_dec"]).reshape(D_SAE, SITES, D)
    np.testing.assert_allclose(rows[:4, 0], rows[:4, 1], atol=1e-6)
    assert np.abs(rows[4:, 0] - rows[4:, 1]).min(axis=1).max() > 1e-3
    assert np.abs(params["w_dec"] - before["w_dec"]).max() > 1e-2
    output = model.apply({"params": params}, BATCH.x, _context())
    decoded = model.apply({"params": params}, output.codes, method="decode")
    np.testing.assert_allclose(decoded, output.x_hat, atol=1e-5)


def test_rows_of_shared_latents_are_decoded_as_their_mean_even_if_they_differ():
    model, params = _model(shared=0.5), _float32(PARAMS)
    output = model.apply({"params": params}, BATCH.x, _context())
    decoded = model.apply({"params": params}, output.codes, method="decode")
    np.testing.assert_allclose(decoded, output.x_hat, atol=1e-5)
    rows = PARAMS["w_dec"].reshape(D_SAE, SITES, D).copy()
    rows[:4] = rows[:4].mean(axis=1, keepdims=True)
    seen = base.with_dictionary(model, params, {})["w_dec"]
    np.testing.assert_allclose(seen, rows.reshape(D_SAE, D_IN), atol=1e-6)


def test_sites_start_in_directions_of_their_own_with_one_norm():
    params, _ = jitted.init(_model(shared=0.25, decoder_norm=0.2), jax.random.key(0), BATCH.x)
    rows = np.asarray(params["w_dec"]).reshape(D_SAE, SITES, D)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=2), 0.2, rtol=1e-5)
    np.testing.assert_array_equal(rows[:2, 0], rows[:2, 1])
    assert np.abs(rows[2:, 0] - rows[2:, 1]).max(axis=1).min() > 1e-2
    np.testing.assert_array_equal(params["w_enc"], params["w_dec"].T)


def test_a_model_without_shared_latents_is_refused_by_their_penalty():
    output = types.Output(BATCH.x, jnp.ones((ROWS, D_SAE)), jnp.ones((ROWS, D_SAE)))
    with pytest.raises(errors.UserError, match="crosscoder"):
        sparsity.l1_designated(_float32(PARAMS), BATCH, output, _context())


@pytest.mark.parametrize("grid", [None, (2, 4, 1)])
def test_data_without_sites_are_refused(grid):
    with pytest.raises(ValueError, match="several sites"):
        crosscoder.Model(D_IN, D_SAE, relu.Activation(), grid)
