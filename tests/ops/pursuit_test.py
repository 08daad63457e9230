"""Matching pursuit against a loop in float64, and its gradient against autodiff of such a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import pursuit

RNG = np.random.default_rng(0)
BATCH, D_IN, D_SAE, STEPS = 6, 4, 9, 5
R = RNG.standard_normal((BATCH, D_IN))
ROWS = RNG.standard_normal((D_SAE, D_IN))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
G_VALUES, G_LEFT = RNG.standard_normal((BATCH, STEPS)), RNG.standard_normal((BATCH, D_IN))


def _by_hand(relu, steps=STEPS):
    codes, left, chosen = np.zeros((BATCH, D_SAE)), R.copy(), np.zeros((BATCH, steps), int)
    for b in range(BATCH):
        for t in range(steps):
            products = ROWS @ left[b]
            j = np.argmax(products if relu else np.abs(products))
            value = max(products[j], 0) if relu else products[j]
            codes[b, j] += value
            left[b] -= value * ROWS[j]
            chosen[b, t] = j
    return codes, left, chosen


def _chosen(relu, gram, steps=STEPS):
    r, rows = jnp.asarray(R, jnp.float32), jnp.asarray(ROWS, jnp.float32)
    return pursuit.choose(r @ rows.T, r, rows, steps, relu, gram)


@pytest.mark.parametrize("gram", [None, False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_it_is_the_loop(relu, gram):
    codes, left, chosen = _by_hand(relu)
    indices = _chosen(relu, gram)
    np.testing.assert_array_equal(indices, chosen)
    r, rows = jnp.asarray(R, jnp.float32), jnp.asarray(ROWS, jnp.float32)
    values, found = pursuit.explain(r, indices, rows, relu)
    np.testing.assert_allclose(found, left, atol=1e-5)
    np.testing.assert_allclose(pursuit.codes(values, indices, D_SAE), codes, atol=1e-5)
    # Some latent is taken twice, or adding up went untested.
    assert any(len(set(row)) < STEPS for row in chosen)


def test_with_relu_a_code_ends_where_nothing_positive_is_left():
    rows = jnp.eye(D_IN)[:2]
    r = jnp.asarray([[3.0, -1.0, 2.0, 0.0], [1.0, 2.0, 0.0, 0.0]])
    indices = pursuit.choose(r @ rows.T, r, rows, 3, True)
    values, left = pursuit.explain(r, indices, rows, True)
    np.testing.assert_allclose(pursuit.codes(values, indices, 2), [[3.0, 0.0], [1.0, 2.0]])
    np.testing.assert_allclose(left, [[0.0, -1.0, 2.0, 0.0], [0.0] * 4])
    np.testing.assert_array_equal(values[:, 1:], [[0.0, 0.0], [1.0, 0.0]])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_the_gradient_is_that_of_the_loop_with_its_choices_fixed(relu, scale):
    indices = _chosen(relu, True)

    def plain(r, rows):
        values = []
        for t in range(STEPS):
            chosen = rows[indices[:, t]]
            value = (r * chosen).sum(axis=1)
            value = jax.nn.relu(value) if relu else value
            r = r - value[:, None] * chosen
            values.append(value)
        return jnp.stack(values, axis=1), r

    def slopes(of):
        def loss(r, rows):
            values, left = of(r, rows)
            return (values * G_VALUES).sum() + (left * G_LEFT).sum()

        r, rows = jnp.asarray(R, jnp.float32), scale * jnp.asarray(ROWS, jnp.float32)
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(r, rows)

    found = slopes(lambda r, rows: pursuit.explain(r, indices, rows, relu))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, slopes(plain)
    )
