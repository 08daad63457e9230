import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.metrics import prediction


def _measure(x, y, x_hat, mask=None, **knobs):
    x, y, x_hat = (jnp.asarray(array, jnp.float32) for array in (x, y, x_hat))
    output = types.Output(x_hat=x_hat, codes=x, pre=x)
    sums = prediction.sums(types.Batch(x=x, y=y, mask=mask), output, jnp.zeros(1), **knobs)
    return prediction.finish({name: np.asarray(value, np.float64) for name, value in sums.items()})


def test_by_hand_for_a_series():
    found = _measure([[1, 2]], [[1, 2, 4, 5]], [[9, 9, 3, 5]])
    assert found == {"prediction_mse": 1 / 2, "copy_last_mse": (2**2 + 3**2) / 2}


def test_a_step_of_several_numbers_is_copied_as_a_whole():
    found = _measure(
        [[0, 0, 1, 2]], [[0, 0, 1, 2, 3, 2, 1, 5]], [[0, 0, 0, 0, 3, 2, 1, 1]], width=2
    )
    assert found == {"prediction_mse": 4**2 / 4, "copy_last_mse": (2**2 + 3**2) / 4}


def test_padding_does_not_count():
    x, y, x_hat = [[1], [5]], [[1, 2], [5, 9]], [[0, 2], [0, 0]]
    found = _measure(x, y, x_hat, mask=jnp.asarray([1.0, 0.0]))
    assert found == {"prediction_mse": 0, "copy_last_mse": 1}


@pytest.mark.parametrize(("y", "width"), [([[1, 2]], 1), ([[1, 2, 3]], 2), ([[1, 2, 3, 4, 5]], 2)])
def test_nothing_to_predict_is_an_error(y, width):
    with pytest.raises(errors.DataError, match="no whole steps"):
        _measure([[1, 2]], y, y, width=width)
