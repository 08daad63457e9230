"""Gradients as factors against arrays by autodiff: what they sum up to, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.ops import blocked, factors, sparse

BATCH, D_IN, D_SAE, K = 7, 5, 23, 4
RNG = np.random.default_rng(0)
LATENTS = {"w_enc": D_SAE, "w_dec": D_SAE}


def _params(d_in=D_IN, d_sae=D_SAE):
    shapes = dict(w_enc=(d_in, d_sae), w_dec=(d_sae, d_in), b_enc=(d_sae,), b_dec=(d_in,))
    return {name: jnp.asarray(RNG.standard_normal(s), jnp.float32) for name, s in shapes.items()}


def _loss(params, x, weight, alive=None, blocks=3):
    """Of TopK in blocks; with `alive`, of what the others than these decode, too."""
    pre = types.Pre(None, x, params["b_dec"], params["w_enc"], params["b_enc"], blocks)
    values, indices, pre = blocked.top_k(pre, K)
    codes = types.Codes(values, indices, params["w_enc"].shape[1])
    x_hat, w_dec = sparse.product_and_pass(codes, params["w_dec"])
    error = ((x_hat + params["b_dec"][None] - x) * weight) ** 2
    if alive is not None:
        score = blocked.scaled_by(None)
        few = blocked.decoded_where(~alive.all(), pre, 3, score, ~alive, jax.nn.relu, w_dec)
        error = error + (few - 2 * x) ** 2
    return error.sum(), values


def _given():
    x, weight = (jnp.asarray(RNG.standard_normal((BATCH, D_IN)), jnp.float32) for _ in range(2))
    return _params(), x, weight


def _array(grad, width):
    """The rows of a gradient, `width` latents after the other."""
    grad = factors.sort(grad)
    parts = [factors.rows(grad, first, width) for first in range(0, grad.count, width)]
    assert float(factors.square(grad, width)) == pytest.approx(
        sum(float((part**2).sum()) for part in parts), rel=1e-5
    )
    return np.concatenate(parts)[: grad.count]


@pytest.mark.parametrize("width", [1, 6, 23, 40])
@pytest.mark.parametrize("alive", [None, np.arange(D_SAE) % 3 > 0, np.ones(D_SAE, bool)])
def test_they_sum_up_to_the_gradient_by_autodiff(alive, width):
    params, *rest = _given()
    more = () if alive is None else (jnp.asarray(alive),)
    (loss, values), grads = factors.value_and_grad(_loss, LATENTS)(params, *rest, *more)
    (expected, same), wanted = jax.value_and_grad(_loss, has_aux=True)(params, *rest, *more)
    assert float(loss) == float(expected)
    np.testing.assert_array_equal(values, same)
    for name in ("b_enc", "b_dec"):
        np.testing.assert_allclose(grads[name], wanted[name], rtol=1e-5, atol=1e-5)
    assert [len(grads[name].uses) for name in LATENTS] == [1 if alive is None else 2] * 2
    np.testing.assert_allclose(_array(grads["w_enc"], width), wanted["w_enc"].T, atol=1e-4)
    np.testing.assert_allclose(_array(grads["w_dec"], width), wanted["w_dec"], atol=1e-4)


def test_entries_of_one_latent_may_be_more_than_are_added_at_once():
    values, x = RNG.standard_normal((900, 2)), RNG.standard_normal((900, D_IN))
    indices = np.stack([np.full(900, 4), np.arange(900) % 3], axis=1)
    use = factors.Factors(*(jnp.asarray(a) for a in (values, indices, x)))
    found = _array(factors.Sum((use,), 9), 2)
    expected = np.zeros((9, D_IN))
    for j in range(2):
        np.add.at(expected, indices[:, j], values[:, j, None] * x)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_gradient_that_arrives_by_another_way_is_refused():
    def decayed(params, *rest):
        loss, values = _loss(params, *rest)
        return loss + (params["w_dec"] ** 2).sum(), values

    with pytest.raises(factors.OtherReaderError):
        factors.value_and_grad(decayed, LATENTS)(*_given())


def test_a_matrix_that_no_sparse_product_reads_is_refused():
    params, *rest = _given()
    with pytest.raises(factors.OtherReaderError):
        factors.value_and_grad(_loss, {"other": D_SAE})({**params, "other": params["w_dec"]}, *rest)


def test_a_matrix_that_is_made_of_another_is_refused():
    def tied(params, *rest):
        return _loss({**params, "w_enc": params["w_dec"].T}, *rest)

    with pytest.raises(factors.OtherReaderError):
        factors.value_and_grad(tied, {"w_dec": D_SAE})(*_given())


def test_reading_a_matrix_without_a_gradient_is_no_other_way():
    def compared(params, *rest):
        loss, values = _loss(params, *rest)
        return loss * jax.lax.stop_gradient((params["w_dec"] ** 2).sum()), values

    grads = factors.value_and_grad(compared, LATENTS)(*_given())[1]
    assert len(grads["w_dec"].uses) == 1


def test_no_array_of_the_size_of_a_matrix_is_written_down():
    d_in, d_sae = 64, 8192

    def squares(params, x, alive):
        graded = factors.value_and_grad(
            functools.partial(_loss, blocks=32), dict.fromkeys(LATENTS, d_sae)
        )
        grads = graded(params, x, x, alive)[1]
        return [factors.square(factors.sort(grads[name]), 64) for name in LATENTS]

    given = _params(d_in, d_sae), jnp.ones((BATCH, d_in)), jnp.ones(d_sae, bool)
    compiled = jax.jit(squares).lower(*jax.eval_shape(lambda: given)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < d_in * d_sae * 4 / 2
