import jax
import jax.numpy as jnp
import pytest

from sae_jax.ops import each, schedule


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.5, 0.5), (lambda step: 2 * step, 14.0), (lambda step: step / 2, 3.5)],
)
def test_value_is_the_number_or_what_the_schedule_says(wrap, number, expected):
    got = wrap(lambda step: schedule.value(number, step))(jnp.asarray(7, jnp.int32))
    assert (got.dtype, got.shape, float(got)) == (jnp.float32, (), expected)


def test_the_largest_number_of_a_schedule_is_known_once_it_is_bounded():
    def falling(step):
        return 5.0 - jnp.abs(step - 3)

    assert schedule.most(falling) is None
    bounded = schedule.bounded(falling, 3)
    assert schedule.most(bounded) == 4.0
    assert float(bounded(jnp.asarray(1))) == 3.0
    assert schedule.most(7) == 7
    assert schedule.most(each.Each((2, 9, 4))) == 9
