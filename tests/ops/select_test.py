import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import select

select_jit = jax.jit(select.largest, static_argnames="axis")


def _expected(x, k, axis):
    """Where NumPy's stable sort puts the k largest, the first of equals first."""
    order = np.argsort(-x, axis=axis, kind="stable")
    keep = np.zeros(x.shape, bool)
    np.put_along_axis(keep, np.take(order, range(k), axis=axis), True, axis=axis)
    return keep


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 7, 30])
def test_the_largest_are_those_of_a_sort(k, axis):
    x = np.random.RandomState(0).randn(30, 30).astype(np.float32)
    got = select_jit(jnp.asarray(x), k, axis=axis)
    np.testing.assert_array_equal(got, _expected(x, k, axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_of_equals_the_first(k, axis):
    x = np.random.RandomState(0).randint(-2, 3, (12, 12)).astype(np.float32)
    x[x == 0] *= np.random.RandomState(1).choice([-1, 1], (x == 0).sum())  # -0 is 0.
    got = select_jit(jnp.asarray(x), k, axis=axis)
    np.testing.assert_array_equal(got, _expected(x, k, axis))
    assert (got.sum(axis=axis) == k).all()


@pytest.mark.parametrize("k", [1, 40, 100])
def test_of_a_whole_array_rows_come_one_after_the_other(k):
    x = np.random.RandomState(0).randint(-2, 3, (9, 12)).astype(np.float32)
    got = select_jit(jnp.asarray(x), k, axis=None)
    np.testing.assert_array_equal(got, _expected(x.reshape(1, -1), k, 1).reshape(x.shape))


@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_any_float_has_its_place(k):
    row = [-np.inf, -3e38, -1.0, -1e-45, 1e-45, 1e-30, 2.0, np.inf]
    x = np.asarray([row, row[::-1]], np.float32)
    np.testing.assert_array_equal(select_jit(jnp.asarray(x), k, axis=1), _expected(x, k, 1))


def test_what_is_no_number_does_not_vanish():
    x = jnp.asarray([[1.0, jnp.nan, 3.0, -jnp.nan]])
    np.testing.assert_array_equal(select_jit(x, 2, axis=1), [[False, True, False, True]])


@pytest.mark.parametrize(
    ("number", "expected"), [(0.2, 1), (2.4, 2), (2.6, 3), (11.0, 10), (-3.0, 1)]
)
def test_a_count_is_whole_and_within_its_bounds(number, expected):
    got = select.count(jnp.asarray(number), 10)
    assert (int(got), got.dtype) == (expected, jnp.int32)
