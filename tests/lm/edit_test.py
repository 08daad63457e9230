"""Edits by themselves."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import base, edit

MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1]], bool)
X = np.random.RandomState(0).standard_normal((2, 7, 4)).astype(np.float32)
ODD = np.array([[0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1]], bool)


def test_positions_count_tokens():
    place = base.place(MASK)
    np.testing.assert_array_equal(place.positions[0, :5], np.arange(5))
    np.testing.assert_array_equal(place.positions[1, 3:], np.arange(4))


@pytest.mark.parametrize(
    ("at", "first", "second"),
    [
        (None, (0, 1, 2, 3, 4), (3, 4, 5, 6)),
        (slice(1, None), (1, 2, 3, 4), (4, 5, 6)),
        (slice(2, 4), (2, 3), (5, 6)),
        (slice(None, 1), (0,), (3,)),
        ((0, 3, 9), (0, 3), (3, 6)),
        (ODD, (1, 3), (3, 5)),
        (np.ones((1, 2), bool), (0, 1), (3, 4)),
    ],
)
def test_tokens_are_chosen_by_position_and_padding_never(at, first, second):
    place, rows = base.place(MASK), np.zeros((2, 7), bool)
    rows[0, list(first)] = rows[1, list(second)] = True
    vector = np.arange(4, dtype=np.float32)
    for change, wanted in (
        (edit.add(vector, 0.5, at), X + 0.5 * vector),
        (edit.scale(-2.0, at), -2 * X),
        (edit.replace(vector, at), vector),
        (edit.replace(X[::-1], at), X[::-1]),
        (edit.replace(X[0], at), X[0]),
        (edit.ablate(at=at), 0),
        (edit.ablate(vector, at), vector),
    ):
        found = change(jnp.asarray(X), place)
        np.testing.assert_allclose(found, np.where(rows[..., None], wanted, X), rtol=1e-6)


def test_the_type_of_the_activation_stays():
    found = edit.add(np.ones(4), 2.0)(jnp.asarray(X, jnp.bfloat16), base.place(MASK))
    assert found.dtype == jnp.bfloat16


@pytest.mark.parametrize("at", [(-1,), slice(0, 9, 2), slice(-3, None), np.ones(3)])
def test_what_names_no_positions_is_refused(at):
    with pytest.raises(errors.UserError, match="^at"):
        edit.scale(2.0, at)
