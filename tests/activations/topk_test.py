import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import topk
from sae_jax.models import layers
from sae_jax.ops import schedule, sparse
from sae_jax.optim import schedules

PRE = np.asarray([[0.5, -1.0, 3.0, 2.0], [-4.0, -1.0, -3.0, -2.0]], np.float32)


def _context(train=True, step=0):
    return types.Context(
        step=jnp.asarray(step, jnp.int32),
        key=jax.random.key(0),
        dead=jnp.zeros(4, bool),
        train=train,
    )


@functools.partial(jax.jit, static_argnames=("activation", "train"))
def _codes(activation, pre, step=0, train=True):
    return activation(pre, _context(train, step))


def test_the_largest_are_kept_whatever_their_sign():
    np.testing.assert_array_equal(
        _codes(topk.Activation(k=2), PRE), [[0.0, 0.0, 3.0, 2.0], [0.0, -1.0, 0.0, -2.0]]
    )


def test_with_relu_what_is_negative_goes_too():
    np.testing.assert_array_equal(
        _codes(topk.Activation(k=3, relu=True), PRE), [[0.5, 0.0, 3.0, 2.0], [0.0] * 4]
    )


def test_only_the_kept_have_a_gradient():
    weights = np.arange(1.0, 9.0).reshape(2, 4)

    def loss(pre):
        return (topk.Activation(k=2)(pre, _context()) ** 2 * weights).sum()

    expected = 2 * PRE * weights * [[0, 0, 1, 1], [0, 1, 0, 1]]
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(PRE), expected, rtol=1e-6)


@pytest.mark.parametrize(("alpha", "expected"), [(1, 2), (1.5, 3), (2.0, 4)])
def test_more_are_kept_when_nothing_is_trained(alpha, expected):
    activation = topk.Activation(k=2, alpha=alpha)
    assert (_codes(activation, PRE) != 0).sum(axis=1).tolist() == [2, 2]
    assert (_codes(activation, PRE, train=False) != 0).sum(axis=1).tolist() == [expected] * 2


def test_k_falls_during_the_first_half():
    k = schedules.linear(10, start=9, end=1, over=0.5)
    pre = np.random.RandomState(0).randn(3, 12).astype(np.float32)
    activation = topk.Activation(k=k)
    found = [(_codes(activation, pre, step) != 0).sum(axis=1).tolist() for step in range(8)]
    assert found == [[n] * 3 for n in (9, 7, 6, 4, 3, 1, 1, 1)]  # 9, 7.4, 5.8, 4.2, 2.6, 1.


def test_a_schedule_that_asks_for_too_many_gets_all():
    k = schedules.constant(10, value=99)
    np.testing.assert_array_equal(_codes(topk.Activation(k=k), PRE), PRE)


@pytest.mark.parametrize("fields", [dict(k=0), dict(k=0.5), dict(k=2, alpha=0.9)])
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="it must be 1 or more"):
        topk.Activation(**fields)


def test_more_than_there_are_latents_is_refused():
    with pytest.raises(errors.ConfigError, match="config.model.activation.k=5 of 4 latents"):
        _codes(topk.Activation(k=5), PRE)


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_sparse_codes_of_a_schedule_are_the_dense_ones(alpha):
    """With places for the largest k, of which as many are in use as k says at a step."""
    k = schedule.Bounded(schedules.linear(4, start=2, end=6), 4)
    activation = functools.partial(topk.Activation, k=k, alpha=alpha, relu=True)
    pre = jnp.asarray(np.random.RandomState(0).randn(3, 12), jnp.float32)
    for step, train in [(0, True), (1, True), (3, True), (2, False)]:
        found = layers.activate(activation(form="sparse"), pre, _context(train, step))
        assert found.values.shape == (3, round(5 * (1 if train else alpha)))
        wanted = _codes(activation(form="dense"), pre, step, train)
        np.testing.assert_allclose(sparse.dense(found), wanted)


def test_a_schedule_without_a_known_bound_has_no_sparse_form():
    k = schedules.linear(4, start=2, end=6)
    assert topk.Activation(k=k).max_active(1000, train=True) is None
    with pytest.raises(ValueError, match="how large k may become is not known"):
        topk.Activation(k=k, form="sparse")
