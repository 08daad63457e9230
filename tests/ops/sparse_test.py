"""Sparse codes against the dense formulas, in value and in gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.ops import linear, sparse

BATCH, D_IN, D_SAE, K = 6, 5, 11, 3
RNG = np.random.default_rng(0)


def _random(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


INDICES = jnp.asarray(np.stack([RNG.permutation(D_SAE)[:K] for _ in range(BATCH)]), jnp.int32)
VALUES, W_DEC, WEIGHT = _random(BATCH, K), _random(D_SAE, D_IN), _random(BATCH, D_IN)


def _dense(values):
    found = np.zeros((BATCH, D_SAE), np.float32)
    for b in range(BATCH):
        for j in range(K):
            found[b, INDICES[b, j]] = values[b, j]
    return found


def _codes(values=VALUES):
    return types.Codes(values, INDICES, D_SAE)


def test_dense_puts_each_value_into_its_place():
    codes = _codes()
    assert codes.shape == (BATCH, D_SAE)
    np.testing.assert_array_equal(sparse.dense(codes), _dense(VALUES))
    np.testing.assert_array_equal(sparse.dense(WEIGHT), WEIGHT)


def test_a_latent_whose_value_is_zero_is_not_active():
    codes = _codes(VALUES.at[0, 0].set(0.0))
    mask = jnp.ones(BATCH).at[1].set(0.0)
    for form in (codes, sparse.dense(codes)):
        np.testing.assert_array_equal(sparse.active(form), [K - 1] + [K] * (BATCH - 1))
        expected = (np.asarray(sparse.dense(codes))[np.asarray(mask) > 0] != 0).any(axis=0)
        np.testing.assert_array_equal(sparse.ever_active(form, mask), expected)


def test_decoding_is_the_product_with_dense_codes_and_so_are_its_gradients():
    def of_sparse(values, w_dec):
        return (sparse.decode(values, INDICES, w_dec) * WEIGHT).sum()

    def of_dense(values, w_dec):
        return (sparse.dense(_codes(values)) @ w_dec * WEIGHT).sum()

    found = jax.jit(jax.value_and_grad(of_sparse, (0, 1)))(VALUES, W_DEC)
    expected = jax.jit(jax.value_and_grad(of_dense, (0, 1)))(VALUES, W_DEC)
    np.testing.assert_allclose(found[0], (_dense(VALUES) @ W_DEC * WEIGHT).sum(), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


@pytest.mark.parametrize("wanted", ["x", "centre", "w_enc", "b_enc"])
def test_taking_has_the_gradient_of_the_affine_map(wanted):
    given = dict(
        x=_random(BATCH, D_IN),
        centre=_random(D_IN),
        w_enc=_random(D_IN, D_SAE),
        b_enc=_random(D_SAE),
    )
    weight = _random(BATCH, K)

    def of_sparse(value):
        parts = {**given, wanted: value}
        pre = types.Pre(linear.encode(*parts.values()), **parts)
        return (sparse.take(pre, INDICES) ** 2 * weight).sum()

    def of_dense(value):
        parts = {**given, wanted: value}
        pre = (parts["x"] - parts["centre"][None]) @ parts["w_enc"] + parts["b_enc"][None]
        return (jnp.take_along_axis(pre, INDICES, axis=1) ** 2 * weight).sum()

    found = jax.jit(jax.value_and_grad(of_sparse))(given[wanted])
    expected = jax.jit(jax.value_and_grad(of_dense))(given[wanted])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_no_gradient_of_the_width_of_the_dictionary_is_formed():
    """Of the five matrix products of a training step only the encoder's is left."""
    batch, d_sae = 7, 13  # No other axis has these lengths.
    x, w_enc, w_dec = _random(batch, D_IN), _random(D_IN, d_sae), _random(d_sae, D_IN)
    zeros, none = jnp.zeros(D_IN), jnp.zeros(d_sae)

    def loss(w_enc, w_dec):
        pre = types.Pre(linear.encode(x, zeros, w_enc, none), x, zeros, w_enc, none)
        values, indices = jax.lax.top_k(jax.lax.stop_gradient(pre.dense), K)
        values = jax.nn.relu(sparse.take(pre, indices))
        return ((sparse.decode(values, indices, w_dec) - x) ** 2).sum()

    text = jax.jit(jax.grad(loss, (0, 1))).lower(w_enc, w_dec).compile().as_text()
    products = [line for line in text.splitlines() if " dot(" in line or "onednn" in line]
    assert len(products) == 1, products


@pytest.mark.parametrize("batch", [7, 24, 32])
@pytest.mark.parametrize(("k", "used"), [(5, 5), (16, 3), (20, 17), (40, 0)])
def test_products_are_those_of_the_slots_in_use(batch, k, used):
    values = np.where(np.arange(k) < used, RNG.standard_normal((batch, k)), 0.0)
    indices = RNG.integers(0, 50, (batch, k))
    g, rows = RNG.standard_normal((batch, D_IN)), RNG.standard_normal((50, D_IN))
    given = (jnp.asarray(of, jnp.float32) for of in (g, values))
    found = sparse.products(*given, jnp.asarray(indices), jnp.asarray(rows, jnp.float32))
    expected = np.einsum("bd,bkd->bk", g, rows[indices]) * (np.arange(k) < used)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("count", [50, 2**22])
def test_rows_are_added_where_their_latents_are(count):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((70, 3)).astype(np.float32)
    indices = rng.integers(0, count, (70, 40)).astype(np.int32)
    indices[:, 0] = count - 1
    values = rng.standard_normal((70, 40)).astype(np.float32)
    values[:, 5:20] = 0.0
    start = rng.standard_normal((count, 3)).astype(np.float32)
    wanted = start.astype(np.float64)
    np.add.at(wanted, indices, values.astype(np.float64)[:, :, None] * x[:, None])
    # Of 2^22 latents 10 bits are left for the place: entries are sorted in groups.
    given = [jnp.asarray(each) for each in (values, indices, x, start)]
    found = sparse._scatter_by_latent(*given)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    by_slot = sparse._scatter_by_slot(*given)
    np.testing.assert_allclose(by_slot, wanted, rtol=1e-5, atol=1e-5)


def test_weights_that_are_passed_on_collect_the_gradients_of_all_who_read_them():
    key = jax.random.key(0)
    x, w_enc, w_dec = (
        jax.random.normal(jax.random.fold_in(key, number), shape)
        for number, shape in enumerate([(BATCH, D_IN), (D_IN, D_SAE), (D_SAE, D_IN)])
    )
    zeros, none = jnp.zeros(D_IN), jnp.zeros(D_SAE)

    def loss(weights, form):
        w_enc, w_dec = weights
        dense = linear.encode(x, zeros, w_enc, none)
        indices = jax.lax.top_k(jax.lax.stop_gradient(dense), K)[1]
        if form == "dense":
            kept = jnp.zeros_like(dense).at[jnp.arange(BATCH)[:, None], indices].set(1.0)
            x_hat = (dense * kept) @ w_dec
        else:
            pre = types.Pre(dense, x, zeros, w_enc, none)
            values, pre = sparse.take_and_pass(pre, indices)
            x_hat, w_dec = sparse.decode_and_pass(values, indices, w_dec)
            w_enc = pre.w_enc
        return ((x_hat - x) ** 2).sum() + (jnp.sin(w_enc) * jnp.cos(w_dec.T)).sum()

    slope = jax.jit(jax.grad(loss), static_argnums=1)
    wanted, found = (slope((w_enc, w_dec), form) for form in ("dense", "sparse"))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
