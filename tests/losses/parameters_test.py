import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np

from sae_jax import types
from sae_jax.losses import parameters


def _call(params, rows=3):
    codes = jnp.zeros((rows, 2))
    output = types.Output(x_hat=codes, codes=codes, pre=codes)
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(2, bool)
    )
    return parameters.weight_decay(params, types.Batch(x=codes), output, context)


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
    slope = jax.grad(lambda params: _call(params).mean())(params)
    np.testing.assert_allclose(slope["w_enc"], params["w_enc"], rtol=1e-6)
    np.testing.assert_array_equal(slope["b_enc"], [0.0, 0.0])


def test_gradients_are_finite_differences():
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        params = {"w_enc": jnp.asarray(rng.randn(3, 2)), "w_dec": jnp.asarray(rng.randn(2, 3))}
        check_grads(lambda params: _call(params), (params,), 1, ["rev"], 1e-7, 1e-7)
