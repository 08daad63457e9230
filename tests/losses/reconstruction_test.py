import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from sae_jax import types
from sae_jax.losses import reconstruction


def _call(term, x, x_hat, y=None):
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=jnp.zeros((2, 1)), pre=jnp.zeros((2, 1)))
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool)
    )
    y = None if y is None else jnp.asarray(y)
    return term({}, types.Batch(x=jnp.asarray(x), y=y), output, context)


X = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]]
X_HAT = [[1.0, 0.0, 3.5, 4.0], [-1.0, 1.0, 1.0, 3.0]]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (reconstruction.mse_sum, [0 + 4 + 0.25 + 0, 1 + 1 + 1 + 9]),
        (reconstruction.mse_mean, [4.25 / 4, 12 / 4]),
    ],
)
def test_squared_error_by_hand(term, expected):
    np.testing.assert_allclose(_call(term, X, X_HAT), expected, rtol=1e-6)


@pytest.mark.parametrize("term", [reconstruction.mse_sum, reconstruction.mse_mean])
def test_the_target_is_y_where_there_is_one(term):
    np.testing.assert_array_equal(_call(term, X, X_HAT, y=X_HAT), [0.0, 0.0])
    assert (_call(term, X, X, y=X_HAT) > 0).all()


@pytest.mark.parametrize("term", [reconstruction.mse_sum, reconstruction.mse_mean])
def test_gradients_are_finite_differences(term):
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        x, x_hat = jnp.asarray(rng.randn(2, 4)), jnp.asarray(rng.randn(2, 4))
        check_grads(lambda x_hat: _call(term, x, x_hat), (x_hat,), 1, ["rev"], 1e-7, 1e-7)
