import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import identity, topk
from sae_jax.models import kron
from sae_jax.ops import sparse
from tests import jitted

D_IN, HEADS, M, N, BATCH = 4, 2, 3, 2, 6
D_SAE = HEADS * M * N
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, D_IN))
SHAPES = dict(w_left=(D_IN, HEADS * M), w_right=(D_IN, HEADS * N), w_dec=(D_SAE, D_IN), b_dec=D_IN)
PARAMS = {name: RNG.standard_normal(shape) for name, shape in SHAPES.items()}


def _output(params, activation, train=False):
    model = kron.Model(D_IN, D_SAE, activation, heads=HEADS, m=M)
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), train
    )
    return jitted.forward(model, params, {}, jnp.asarray(X, jnp.float32), context)[0]


def _params():
    return {name: jnp.asarray(value, jnp.float32) for name, value in PARAMS.items()}


def _pre(params):
    centred, pre = X - params["b_dec"], np.zeros((BATCH, D_SAE))
    for h in range(HEADS):
        for i in range(M):
            for j in range(N):
                u = np.maximum(centred @ params["w_left"][:, h * M + i], 0)
                v = np.maximum(centred @ params["w_right"][:, h * N + j], 0)
                pre[:, (h * M + i) * N + j] = np.sqrt(u * v)
    return pre


def test_a_latent_is_the_and_of_its_halves():
    pre = _pre(PARAMS)
    found = _output(_params(), identity.Activation())
    np.testing.assert_allclose(found.pre, pre, atol=1e-4)
    np.testing.assert_allclose(found.x_hat, pre @ PARAMS["w_dec"] + PARAMS["b_dec"], atol=1e-3)
    assert 0.1 < (pre > 0).mean() < 0.6


def test_the_gradient_is_that_of_finite_differences():
    weights = RNG.standard_normal((BATCH, D_SAE))

    def loss(params):
        return (_output(params, identity.Activation()).pre * weights).sum()

    grads = jax.jit(jax.grad(loss))(_params())
    for name in ("w_left", "w_right", "b_dec"):
        for place in np.ndindex(PARAMS[name].shape):
            nudge = np.zeros_like(PARAMS[name])
            nudge[place] = 1e-6
            up, down = (
                (_pre({**PARAMS, name: PARAMS[name] + sign * nudge}) * weights).sum()
                for sign in (1, -1)
            )
            np.testing.assert_allclose(grads[name][place], (up - down) / 2e-6, rtol=1e-3, atol=1e-3)


def test_where_a_half_is_zero_its_gradient_is_zero_and_finite():
    params = {**_params(), "w_left": jnp.zeros((D_IN, HEADS * M))}

    def total(params):
        return _output(params, identity.Activation()).pre.sum()

    grads = jax.jit(jax.grad(total))(params)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads)


def test_the_largest_pairs_may_be_kept_in_sparse_form():
    sparse_form, dense_form = (
        _output(_params(), topk.Activation(k=3, form=form), train=True)
        for form in ("sparse", "dense")
    )
    assert isinstance(sparse_form.codes, types.Codes)
    np.testing.assert_allclose(sparse.dense(sparse_form.codes), dense_form.codes, atol=1e-6)
    np.testing.assert_allclose(sparse_form.x_hat, dense_form.x_hat, atol=1e-5)


def test_latents_that_are_no_whole_number_of_pairs_are_refused():
    with pytest.raises(ValueError, match="heads=5 times m=3 of 12 latents"):
        kron.Model(D_IN, 12, identity.Activation(), heads=5, m=3)
