import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import lifetime

PRE = np.asarray(
    [[1.0, -3.0, 0.1], [2.0, -1.0, 0.0], [3.0, -2.0, 0.2], [-4.0, -5.0, 9.0]], np.float32
)


def _context(train=True):
    return types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(3, bool), train=train
    )


@functools.partial(jax.jit, static_argnames=("activation", "train"))
def _codes(activation, pre, train=True):
    return activation(pre, _context(train))


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, [[0, 0, 0], [0, 0, 0], [3, 0, 0], [0, 0, 9]]),
        (0.5, [[0, 0, 0], [2, 0, 0], [3, 0, 0.2], [0, 0, 9]]),
        (1, np.maximum(PRE, 0)),
        (0.01, [[0, 0, 0], [0, 0, 0], [3, 0, 0], [0, 0, 9]]),  # One example at least.
    ],
)
def test_each_latent_keeps_its_share_of_the_batch(share, expected):
    np.testing.assert_allclose(_codes(lifetime.Activation(share=share), PRE), expected)


def test_when_nothing_is_trained_it_is_a_relu():
    got = _codes(lifetime.Activation(share=0.25), PRE, train=False)
    np.testing.assert_array_equal(got, np.maximum(PRE, 0))


def test_every_latent_wins_a_twentieth_of_a_batch():
    pre = np.abs(np.random.RandomState(0).randn(100, 30)) + np.arange(30)
    codes = _codes(lifetime.Activation(share=0.05), pre.astype(np.float32))
    assert ((codes != 0).sum(axis=0) == 5).all()


def test_only_winners_have_a_gradient():
    activation = lifetime.Activation(share=0.5)
    slope = jax.jit(jax.grad(lambda pre: (activation(pre, _context()) ** 2).sum()))(PRE)
    np.testing.assert_allclose(slope, [[0, 0, 0], [4, 0, 0], [6, 0, 0.4], [0, 0, 18]], rtol=1e-6)


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        lifetime.Activation(share=share)
