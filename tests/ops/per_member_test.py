"""Numbers of which every member has its own: as Python's with each other, as arrays with arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import per_member


def _of_each(function, members, *args):
    """Returns what `function` gives for each member, by one program."""
    program = per_member.jit(function)
    found = []
    for place in range(members):
        with per_member.member(place):
            found.append(np.asarray(program(*args)))
    return found


def test_with_other_numbers_it_is_as_exact_as_python():
    b2 = per_member.PerMember((0.9, 0.999))
    assert (1 - b2).values.tolist() == [1 - 0.9, 1 - 0.999]
    assert (2 * b2 / per_member.PerMember((3, 4)) - 1).values.tolist() == [
        2 * 0.9 / 3 - 1,
        2 * 0.999 / 4 - 1,
    ]
    assert (b2**2).values.tolist() == [0.9**2, 0.999**2]
    assert (-abs(b2)).values.tolist() == [-0.9, -0.999]
    whole = round(0.5 * per_member.PerMember((3, 8, 11)))
    assert whole.values.tolist() == [2, 4, 6]
    assert whole.values.dtype == np.int64


def test_with_an_array_it_is_the_number_of_the_member():
    x = jnp.arange(3.0)
    scale, power = per_member.PerMember((0.5, 2.0)), per_member.PerMember((1, 3))

    def compute(x):
        kept = jnp.where(x < scale, scale * x, jnp.maximum(x, 1.0)) ** power
        return jnp.asarray(scale, jnp.float32) + kept / power

    numbers = np.arange(3.0)
    for found, s, p in zip(_of_each(compute, 2, x), (0.5, 2.0), (1, 3), strict=True):
        kept = np.where(numbers < s, s * numbers, numbers.clip(1)) ** p
        np.testing.assert_allclose(found, s + kept / p, rtol=1e-6)


def test_whole_numbers_stay_whole():
    seeds = per_member.PerMember((1, 2**32 - 1))
    found = _of_each(lambda: jnp.uint32(seeds), 2)
    assert [int(value) for value in found] == [1, 2**32 - 1]
    assert _of_each(lambda: jnp.asarray(per_member.PerMember((1, 2))), 2)[0].dtype == np.int32


def test_one_program_serves_all_members():
    traced = []

    def compute(x):
        traced.append(1)
        return x * per_member.PerMember((1.0, 2.0, 3.0))

    assert [float(value) for value in _of_each(compute, 3, jnp.asarray(2.0))] == [2, 4, 6]
    assert len(traced) == 1


def test_members_side_by_side_have_their_own_gradient():
    weight = per_member.PerMember((1.0, 3.0))

    def slope(place, x):
        with per_member.member(place):
            return jax.jit(jax.grad(lambda x: (weight * x**2).sum()))(x)

    found = jax.vmap(slope, in_axes=(0, None))(jnp.arange(2, dtype=jnp.uint32), jnp.ones(2))
    np.testing.assert_array_equal(found, [[2, 2], [6, 6]])


def test_a_compiled_function_is_given_the_number_of_the_member():
    twice = jax.jit(lambda decay, x: (1 - decay) * x)
    found = _of_each(lambda x: twice(per_member.PerMember((0.5, 0.75)), x), 2, jnp.asarray(8.0))
    assert [float(value) for value in found] == [4, 2]


def test_what_all_decide_alike_is_decided():
    k = per_member.PerMember((3, 5))
    assert k
    assert k > 0
    assert k != 4
    assert max(k, 2) is k
    assert per_member.most(k) == 5
    assert per_member.most(4) == 4
    assert per_member.PerMember((2, 2)) == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda k: k > 4,
        lambda k: k == 3,
        lambda k: bool(k - 3),
        lambda k: float(k),
        lambda k: int(k),
        lambda k: range(k),
        lambda k: {k},
        lambda k: np.zeros(k),
        lambda k: np.sqrt(k),
        lambda k: jnp.zeros(k),
        lambda k: jax.lax.top_k(jnp.arange(9.0), k),
        lambda k: jnp.arange(9.0)[:k],
        lambda k: jnp.arange(9.0) * k,
    ],
    ids=range(13),
)
def test_what_needs_one_number_is_refused(use):
    with pytest.raises(TypeError):
        use(per_member.PerMember((3, 5)))
