import jax
import jax.numpy as jnp
import pytest

from sae_jax.ops import per_member, schedule
from sae_jax.optim import schedules


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
    bounded = schedule.Bounded(falling, 3)
    assert schedule.most(bounded) == 4.0
    assert float(bounded(jnp.asarray(1))) == 3.0
    assert schedule.most(7) == 7
    assert schedule.most(per_member.PerMember((2, 9, 4))) == 9


@pytest.mark.parametrize("at", [(0.5,), (2, 0.6), (1, 2, 3, 4)])
def test_the_largest_number_is_found_step_by_step_even_while_a_program_is_traced(at):
    """A schedule is of one step; several at once it may take for places of its own."""
    rising = schedule.Bounded(schedules.step(4, value=1.0, factor=2.0, at=at), 4)
    found = []
    jax.jit(lambda x: found.append(rising.most) or x)(1.0)
    assert found == [max(float(rising(jnp.asarray(step))) for step in range(4))]
