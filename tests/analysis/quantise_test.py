"""Int8 matrices against plain Python: what is stored, how far off it is, what is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import quantise
from sae_jax.ops import linear

RNG = np.random.default_rng(0)
SHAPES = [(5, 7), (1, 4), (3, 2, 4, 6), (2, 3, 5)]
SIZES = [1e-30, 1e-3, 1.0, 3e7, 1e30]


def _normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_halves_go_to_the_even_number_and_scales_belong_to_columns():
    w = np.array([[127.0, -0.5], [0.5, 0.125], [1.5, 0.0], [-2.5, 0.25]], np.float32)
    made = quantise.matrix(w)
    assert made.q.dtype == np.int8
    assert made.scale.dtype == np.float32
    assert made.scale[0] == 1.0
    assert made.q[:, 0].tolist() == [127, 0, 2, -2]
    # 0.5 / 127, rounded up to 17 bits.
    assert 0 <= made.scale[1] / (0.5 / 127) - 1 <= 2**-16
    assert made.q[:, 1].tolist() == [-127, 32, 0, 63]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_no_weight_is_further_off_than_half_a_step(shape, size):
    w = (size * RNG.standard_normal(shape)).astype(np.float32)
    made = quantise.matrix(w)
    for c in range(shape[-1]):
        column, scale = w[..., c].ravel().astype(float), float(made.scale[c])
        largest = max(abs(value) for value in column)
        assert largest / 127 <= scale <= largest / 127 * (1 + 2**-16)
        for value, q in zip(column, made.q[..., c].ravel(), strict=True):
            assert q == round(value / scale)  # Python's round too takes halves to the even one.
            assert abs(value - q * scale) <= scale / 2
    assert (
        np.abs(made.q.astype(int)).max(axis=tuple(range(len(shape) - 1))).tolist()
        == [127] * shape[-1]
    )
    # Every product is a float32 as it stands.
    np.testing.assert_array_equal(
        np.asarray(made.whole(), float), made.q.astype(float) * made.scale.astype(float)
    )


@pytest.mark.parametrize("size", SIZES)
def test_what_was_quantised_once_does_not_change_again(size):
    once = quantise.matrix((size * RNG.standard_normal((40, 300))).astype(np.float32))
    again = quantise.matrix(np.asarray(once.whole()))
    np.testing.assert_array_equal(again.q, once.q)
    np.testing.assert_array_equal(again.scale, once.scale)


def test_a_channel_of_zeros_stays_zeros():
    w = _normal(6, 3)
    w[:, 1] = [0, -0.0, 0, 1e-40, 0, 0]
    made = quantise.matrix(w)
    assert made.scale[1] == 0
    assert not np.asarray(made.whole())[:, 1].any()


def test_matrices_alone_are_quantised_and_bytes_are_counted():
    params = {
        "w_enc": _normal(64, 32),
        "b_enc": _normal(32),
        "long_bias": _normal(5000),
        "enc_0": {"w": _normal(3, 3, 4, 32), "small": _normal(4, 4)},
        "count": np.ones((64, 64), np.int32),
    }
    small = quantise.quantise(params)
    kinds = {
        jax.tree_util.keystr(path, simple=True, separator="."): isinstance(leaf, quantise.Int8)
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            small, is_leaf=lambda leaf: isinstance(leaf, quantise.Int8)
        )
    }
    assert [name for name, made in kinds.items() if made] == ["enc_0.w", "w_enc"]
    whole = quantise.dequantise(small)
    for name in ("b_enc", "long_bias", "count"):
        np.testing.assert_array_equal(whole[name], params[name])
    np.testing.assert_array_equal(whole["enc_0"]["small"], params["enc_0"]["small"])
    assert jax.tree.structure(whole) == jax.tree.structure(params)
    assert quantise.nbytes(params) == 4 * (64 * 32 + 32 + 5000 + 9 * 4 * 32 + 16 + 64 * 64)
    saved = 3 * (64 * 32 + 9 * 4 * 32) - 4 * (32 + 32)
    assert quantise.nbytes(params) - quantise.nbytes(small) == saved


def test_a_weight_that_is_not_finite_is_named():
    params = {"dec_1": {"w": np.full((64, 64), np.nan, np.float32)}}
    with pytest.raises(errors.DataError, match=r"dec_1\.w is not finite"):
        quantise.quantise(params)


def _tied(params, x):
    codes = jax.nn.relu(linear.encode(x, params["b"], params["w"].T, jnp.zeros(6)))
    return codes @ params["w"]


def _unrolled(params, x):
    def take(h, _):
        return jnp.tanh(h @ params["square"]), None

    return jax.lax.scan(take, x, length=3)[0]


def _convolved(params, x, **knobs):
    return jax.lax.conv_general_dilated(
        x.reshape(-1, 2, 4, 1),
        params["kernel"],
        window_strides=(1, 1),
        padding=((1, 1), (2, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **knobs,
    )


# What is done with the parameters PARAMS, and whether no float32 array of that many is made.
FUNCTIONS = {
    "linear": (lambda params, x: x @ params["v"] + params["b"][None, :1], True),
    "transposed": (lambda params, x: x @ params["w"].T, False),  # It sums over the channels.
    "transposed twice": (lambda params, x: (params["v"].T @ x.T).T, True),
    "tied": (_tied, False),
    "einsum": (lambda params, x: jnp.einsum("bi,hio->bho", x, params["heads"]), True),
    "einsum of heads": (
        lambda params, x: jnp.einsum("bhi,hio->hbo", jnp.stack([x, -x], 1), params["heads"]),
        True,
    ),
    "jit": (jax.jit(lambda params, x: jax.nn.gelu(x @ params["v"])), True),
    "vmap": (lambda params, x: jax.vmap(lambda row: row[None] @ params["v"])(x), True),
    "norms": (lambda params, x: jnp.linalg.norm(params["w"], axis=1)[None] * x[:, :6], False),
    "scan": (_unrolled, False),
    "convolution": (_convolved, True),
    "fractional stride": (lambda params, x: _convolved(params, x, lhs_dilation=(2, 2)), True),
}


PARAMS = {
    "w": _normal(6, 8),
    "v": _normal(8, 5),
    "b": _normal(8),
    "heads": _normal(2, 8, 3),
    "square": _normal(8, 8),
    "kernel": _normal(3, 3, 1, 7),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_computing_with_whole_numbers_gives_what_the_dequantised_matrices_give(name):
    function, _ = FUNCTIONS[name]
    params, x = quantise.quantise(PARAMS, 2), _normal(4, 8)
    compiled = jax.jit(function)
    found = jax.jit(lambda x: quantise.apply(function, params, x))(x)
    np.testing.assert_allclose(found, compiled(quantise.dequantise(params), x), atol=1e-5)
    assert np.abs(found - compiled(PARAMS, x)).max() > 1e-4


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scales_come_after_products_wherever_channels_are_not_summed_over(name):
    function, after = FUNCTIONS[name]
    params = quantise.quantise(PARAMS, 2)
    program = jax.make_jaxpr(lambda x: quantise.apply(function, params, x))(_normal(4, 8))
    shapes = [sorted(leaf.shape) for leaf in PARAMS.values() if leaf.ndim > 1]
    scaled = [
        equation
        for equation in program.jaxpr.eqns
        if equation.primitive.name == "mul" and sorted(equation.outvars[0].aval.shape) in shapes
    ]
    assert bool(scaled) != after


def test_a_product_with_whole_numbers_is_exact_in_bfloat16():
    q = np.arange(-127, 128)
    assert np.asarray(q.astype(jnp.bfloat16), int).tolist() == q.tolist()


def test_a_linear_layer_by_hand():
    w = np.array([[127.0, 2.0], [-1.4, 1.0]], np.float32)
    found = quantise.apply(
        lambda params, x: x @ params["w"], quantise.quantise({"w": w}, 2), np.array([[1.0, 10.0]])
    )
    # Column 0 in steps of 1: 127, -1. Column 1 in steps of 2 / 127: 127 and 1 / (2 / 127) = 63.5,
    # just below it since scales are rounded up: 63.
    scale = float(quantise.matrix(w).scale[1])
    np.testing.assert_allclose(found, [[127.0 - 10.0, scale * (127 + 10 * 63)]], rtol=1e-6)
