import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from sae_jax import types
from sae_jax.losses import sparsity


def _call(term, codes, w_dec=None, mask=None):
    codes = jnp.asarray(codes)
    rows = codes.shape[0]
    w_dec = jnp.ones((codes.shape[1], 1), codes.dtype) if w_dec is None else jnp.asarray(w_dec)
    mask = None if mask is None else jnp.asarray(mask)
    output = types.Output(x_hat=jnp.zeros((rows, w_dec.shape[1])), codes=codes, pre=codes)
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(codes.shape[1], bool)
    )
    return term({"w_dec": w_dec}, types.Batch(x=output.x_hat, mask=mask), output, context)


def test_l1_by_hand():
    codes = [[1.0, -2.0, 0.0], [0.5, 0.25, 4.0]]
    np.testing.assert_allclose(_call(sparsity.l1, codes), [3.0, 4.75], rtol=1e-6)


def test_l1_decoder_norm_by_hand():
    codes = [[1.0, -2.0, 0.0], [0.5, 0.25, 4.0]]
    w_dec = [[3.0, 4.0], [0.0, 1.0], [-2.0, 0.0]]  # Norms 5, 1, 2.
    expected = [5 + 2, 2.5 + 0.25 + 8]
    np.testing.assert_allclose(_call(sparsity.l1_decoder_norm, codes, w_dec), expected, rtol=1e-6)


def test_l1_decoder_norm_does_not_mind_the_scale_of_the_rows():
    rng = np.random.RandomState(0)
    codes, w_dec = rng.rand(8, 32).astype(np.float32), rng.randn(32, 4).astype(np.float32)
    factor = np.exp(rng.randn(32)).astype(np.float32)
    before = _call(sparsity.l1_decoder_norm, codes, w_dec)
    after = _call(sparsity.l1_decoder_norm, codes * factor, w_dec / factor[:, None])
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert not np.allclose(_call(sparsity.l1, codes * factor), _call(sparsity.l1, codes), rtol=0.1)


def test_l1_decoder_norm_has_a_finite_gradient_at_a_row_of_zeros():
    def total(w_dec):
        return _call(sparsity.l1_decoder_norm, jnp.ones((2, 3)), w_dec).sum()

    assert np.isfinite(
        jax.jit(jax.grad(total))(jnp.asarray([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]))
    ).all()


def test_l1_target_weighs_by_how_far_the_count_is_off():
    codes = [[1.0, -2.0, 0.0], [0.5, 0.25, 4.0], [9.0, 0.0, 0.0]]  # 2.5 active, padding aside.
    given = dict(w_dec=[[3.0, 4.0], [0.0, 1.0], [-2.0, 0.0]], mask=[1.0, 1.0, 0.0])
    plain = _call(sparsity.l1_decoder_norm, codes, **given)
    for target, gain, factor in ((2.5, 3.0, 1.0), (2.0, 3.0, 1.25**3), (5.0, 2.0, 0.25)):
        term = functools.partial(sparsity.l1_target, target=target, gain=gain)
        np.testing.assert_allclose(_call(term, codes, **given), factor * plain, rtol=1e-5)
    for target, factor in ((0.1, 4.0), (100.0, 0.25)):
        term = functools.partial(sparsity.l1_target, target=target, most=4.0)
        np.testing.assert_allclose(_call(term, codes, **given), factor * plain, rtol=1e-5)


def test_kl_by_hand():
    codes = np.asarray([[0.1, 0.9, 0.5], [0.3, 0.7, 0.5]])  # rho_hat 0.2, 0.8, 0.5.
    expected = (
        (0.05 * np.log(0.05 / 0.2) + 0.95 * np.log(0.95 / 0.8))
        + (0.05 * np.log(0.05 / 0.8) + 0.95 * np.log(0.95 / 0.2))
        + (0.05 * np.log(0.05 / 0.5) + 0.95 * np.log(0.95 / 0.5))
    )
    got = _call(sparsity.kl, codes.astype(np.float32))
    np.testing.assert_allclose(got, [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_kl_is_zero_at_the_wanted_activation_and_positive_elsewhere(rho):
    term = functools.partial(sparsity.kl, rho=rho)
    wanted = jnp.full((4, 3), rho)
    np.testing.assert_allclose(_call(term, wanted), np.zeros(4), atol=1e-6)
    slope = jax.jit(jax.grad(lambda codes: _call(term, codes).sum()))(wanted)
    np.testing.assert_allclose(slope, np.zeros((4, 3)), atol=1e-5)
    for other in (0.01, 0.3, 0.99):
        assert (_call(term, jnp.full((4, 3), other)) > 1e-3).all()


def test_kl_leaves_padding_out():
    codes = np.random.RandomState(0).rand(6, 5).astype(np.float32)
    padded = np.concatenate([codes[:4], np.full((2, 5), 0.99, np.float32)])
    mask = np.asarray([1, 1, 1, 1, 0, 0], np.float32)
    np.testing.assert_allclose(
        _call(sparsity.kl, padded, mask=mask)[:4], _call(sparsity.kl, codes[:4]), rtol=1e-6
    )


@pytest.mark.parametrize("code", [0.0, 1.0])
def test_kl_is_finite_for_a_latent_that_never_or_always_fires(code):
    value, slope = jax.jit(jax.value_and_grad(lambda codes: _call(sparsity.kl, codes).sum()))(
        jnp.full((4, 3), code)
    )
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    "term", [sparsity.l1, sparsity.l1_decoder_norm, functools.partial(sparsity.kl, rho=0.2)]
)
def test_gradients_are_finite_differences(term):
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        codes, w_dec = jnp.asarray(0.1 + 0.8 * rng.rand(4, 6)), jnp.asarray(rng.randn(6, 3))
        check_grads(
            lambda codes, w_dec: _call(term, codes, w_dec), (codes, w_dec), 1, ["rev"], 1e-6, 1e-6
        )


def test_lp_sums_powers_and_is_linear_near_zero():
    codes = np.asarray([[0.25, 1.0, 0.0], [4.0, 1e-4, 0.0]], np.float32)
    got = _call(functools.partial(sparsity.lp, p=0.5, keep_size=False), codes)
    np.testing.assert_allclose(got, [1.5, 2 + 1e-4 * 1e-3**-0.5], rtol=1e-5)
    same = functools.partial(sparsity.lp, p=1.0)
    np.testing.assert_allclose(_call(same, codes), _call(sparsity.l1, codes), rtol=1e-6)


def test_lp_keeps_the_size_of_l1_and_the_direction_of_its_own_gradient():
    codes = np.asarray([[0.25, 1.0, 0.0], [4.0, 0.5, 2.0]], np.float32)
    term, plain = (functools.partial(sparsity.lp, p=0.3, keep_size=k) for k in (True, False))
    np.testing.assert_allclose(_call(term, codes).sum(), codes.sum(), rtol=1e-5)
    slopes = [
        np.asarray(jax.jit(jax.grad(lambda codes, t=t: _call(t, codes).sum()))(jnp.asarray(codes)))
        for t in (term, plain)
    ]
    ratio = codes.sum() / float(_call(plain, codes).sum())
    np.testing.assert_allclose(slopes[0], ratio * slopes[1], rtol=1e-5)
    assert np.isfinite(slopes[0]).all()


def test_l2_sums_squares():
    codes = np.asarray([[0.25, 1.0, 0.0], [4.0, -0.5, 2.0]], np.float32)
    np.testing.assert_allclose(_call(sparsity.l2, codes), [1.0625, 20.25])
