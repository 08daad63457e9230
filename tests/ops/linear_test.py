import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import linear

BATCH, D_IN, D_SAE = 8, 16, 32
ONE_PRODUCT = 2 * BATCH * D_IN * D_SAE


def _arguments():
    rng = np.random.RandomState(0)
    shapes = [(BATCH, D_IN), (D_IN,), (D_IN, D_SAE), (D_SAE,)]
    return [rng.randn(*shape).astype(np.float32) for shape in shapes]


def _plain(x, centre, w_enc, b_enc):
    return (x - centre[None]) @ w_enc + b_enc[None]


def _flops(function, argnums):
    gradient = jax.grad(lambda *args: jnp.square(function(*args)).sum(), argnums)
    return jax.jit(gradient).lower(*_arguments()).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_encode_is_the_affine_map(wrap):
    x, centre, w_enc, b_enc = (a.astype(np.float64) for a in _arguments())
    got = wrap(linear.encode)(*map(jnp.asarray, _arguments()))
    np.testing.assert_allclose(got, (x - centre) @ w_enc + b_enc, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_gradients_are_those_of_the_affine_map(wrap):
    x, centre, w_enc, _ = (a.astype(np.float64) for a in _arguments())
    g = np.random.RandomState(1).randn(BATCH, D_SAE)
    expected = [g @ w_enc.T, -(g @ w_enc.T).sum(axis=0), (x - centre).T @ g, g.sum(axis=0)]

    def pull(function):
        def of(*args):
            return jax.vjp(function, *args)[1](jnp.asarray(g, jnp.float32))

        return wrap(of)(*map(jnp.asarray, _arguments()))

    for ours, autodiff, numpy in zip(pull(linear.encode), pull(_plain), expected, strict=True):
        np.testing.assert_allclose(ours, numpy, atol=1e-4)
        np.testing.assert_allclose(ours, autodiff, atol=1e-4)


def test_gradient_of_the_parameters_takes_two_matrix_products():
    assert 2 * ONE_PRODUCT < _flops(linear.encode, (1, 2, 3)) < 2.5 * ONE_PRODUCT
    assert _flops(_plain, (1, 2, 3)) > 3 * ONE_PRODUCT  # Else the line above shows nothing.


def test_gradient_of_the_input_takes_one_product_more():
    assert 3 * ONE_PRODUCT < _flops(linear.encode, (0, 1, 2, 3)) < 3.5 * ONE_PRODUCT


def _rounded(array):
    return np.asarray(jnp.asarray(array).astype(jnp.bfloat16), np.float64)


def test_operands_are_rounded_and_sums_are_not():
    rng = np.random.default_rng(1)
    x, w, g = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((9, 5), (5, 7), (9, 7))
    )
    centre, bias = jnp.asarray(rng.standard_normal(5), jnp.float32), jnp.ones(7)
    found, pull = jax.vjp(lambda *of: linear.encode(*of, "bfloat16"), x, centre, w, bias)
    np.testing.assert_allclose(
        found, _rounded(x - centre[None]) @ _rounded(w) + 1, rtol=1e-5, atol=1e-6
    )
    to_x, to_centre, to_w, to_bias = pull(g)
    np.testing.assert_allclose(to_x, _rounded(g) @ _rounded(w).T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        to_w, _rounded(x - centre[None]).T @ _rounded(g), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(to_centre, -np.asarray(w) @ g.sum(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_bias, g.sum(axis=0), rtol=1e-6)
    assert {leaf.dtype for leaf in (found, to_x, to_w)} == {jnp.dtype("float32")}
    made, pull = jax.vjp(lambda *of: linear.decode(*of, "bfloat16"), found, w.T)
    np.testing.assert_allclose(made, _rounded(found) @ _rounded(w).T, rtol=1e-5, atol=1e-5)
    to_codes, to_rows = pull(x)
    np.testing.assert_allclose(to_codes, _rounded(x) @ _rounded(w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_rows, _rounded(found).T @ _rounded(x), rtol=1e-5, atol=1e-5)
