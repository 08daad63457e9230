import jax
import jax.numpy as jnp
import pytest

from sae_jax.ops import schedule


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.5, 0.5), (lambda step: 2 * step, 14.0), (lambda step: step / 2, 3.5)],
)
def test_value_is_the_number_or_what_the_schedule_says(wrap, number, expected):
    got = wrap(lambda step: schedule.value(number, step))(jnp.asarray(7, jnp.int32))
    assert (got.dtype, got.shape, float(got)) == (jnp.float32, (), expected)
