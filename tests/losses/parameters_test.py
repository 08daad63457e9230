import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.losses import parameters


def _call(params, rows=3, term=parameters.weight_decay):
    codes = jnp.zeros((rows, len(params.get("w_dec", ()))))
    output = types.Output(x_hat=codes, codes=codes, pre=codes)
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(2, bool)
    )
    return term(params, types.Batch(x=codes), output, context)


def test_weight_decay_by_hand_leaves_biases_out():
    params = {
        "w_enc": jnp.asarray([[1.0, -2.0]]),
        "w_dec": jnp.asarray([[3.0], [0.5]]),
        "b_enc": jnp.asarray([100.0, 100.0]),
        "b_dec": jnp.asarray([100.0]),
    }
    np.testing.assert_allclose(_call(params), [0.5 * (1 + 4 + 9 + 0.25)] * 3, rtol=1e-6)


def test_weight_decay_counts_a_tied_matrix_once():
    params = {"w_dec": jnp.asarray([[3.0], [0.5]]), "b_dec": jnp.asarray([100.0])}
    np.testing.assert_allclose(_call(params), [0.5 * 9.25] * 3, rtol=1e-6)


def test_the_mean_over_the_batch_has_the_weights_as_gradient():
    params = {"w_enc": jnp.asarray([[1.0, -2.0]]), "b_enc": jnp.asarray([5.0, 5.0])}
    slope = jax.jit(jax.grad(lambda params: _call(params).mean()))(params)
    np.testing.assert_allclose(slope["w_enc"], params["w_enc"], rtol=1e-6)
    np.testing.assert_array_equal(slope["b_enc"], [0.0, 0.0])


def test_gradients_are_finite_differences():
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        params = {"w_enc": jnp.asarray(rng.randn(3, 2)), "w_dec": jnp.asarray(rng.randn(2, 3))}
        check_grads(lambda params: _call(params), (params,), 1, ["rev"], 1e-7, 1e-7)


def test_orthogonality_is_the_mean_squared_largest_cosine():
    w_dec = np.random.RandomState(0).randn(7, 3)
    unit = w_dec / np.linalg.norm(w_dec, axis=1, keepdims=True)
    cosines = np.maximum(unit @ unit.T, 0) * (1 - np.eye(7))
    got = _call({"w_dec": jnp.asarray(w_dec, jnp.float32)}, term=parameters.orthogonality)
    np.testing.assert_allclose(got, [(cosines.max(axis=1) ** 2).mean()] * 3, rtol=1e-5)


def test_chunks_of_the_dictionary_miss_pairs_but_never_invent_them():
    # Rows 2i and 2i + 1 are alike, all others orthogonal: in a chunk are both of a pair, or one.
    w_dec = jnp.repeat(jnp.eye(8), 2, axis=0)
    term = functools.partial(parameters.orthogonality, chunks=4)
    got = float(_call({"w_dec": w_dec}, term=term)[0])
    assert got in [2 * pairs / 16 for pairs in range(8)]
    assert float(_call({"w_dec": w_dec}, term=parameters.orthogonality)[0]) == 1.0


def test_chunks_of_one_latent_are_refused():
    with pytest.raises(errors.UserError, match="hold no two"):
        _call({"w_dec": jnp.eye(3)}, term=functools.partial(parameters.orthogonality, chunks=2))
