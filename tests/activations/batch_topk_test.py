import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import batch_topk

PRE = jnp.asarray([[0.5, -1.0, 3.0, 2.0], [-4.0, 1.0, -3.0, -2.0]], jnp.float32)


def _run(pre, stats=None, train=True, **fields):
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(4, bool), train=train
    )
    activation = batch_topk.Activation(**fields)
    rest = context.replace(train=False)
    stats = stats or activation.init(jax.random.key(0), pre, rest)["stats"]
    codes, changed = activation.apply({"stats": stats}, pre, context, mutable=["stats"])
    return codes, changed["stats"]


def test_the_largest_of_the_whole_batch_are_kept():
    codes, _ = _run(PRE, k=1.5)
    np.testing.assert_array_equal(codes, [[0, 0, 3, 2], [0, 1, 0, 0]])


def test_of_what_is_kept_the_negative_becomes_zero():
    codes, _ = _run(PRE, k=3)
    np.testing.assert_array_equal(codes, [[0.5, 0, 3, 2], [0, 1, 0, 0]])


def test_the_threshold_is_the_smallest_kept_of_the_first_batch_and_then_a_moving_mean():
    _, stats = _run(PRE, k=1.5, decay=0.9)
    assert stats["sum"] / stats["weight"] == pytest.approx(1.0)
    _, stats = _run(2 * PRE, stats, k=1.5, decay=0.9)
    expected = (0.9 * 1.0 + 2.0) / 1.9  # Weights 0.1 * 0.9 and 0.1.
    assert stats["sum"] / stats["weight"] == pytest.approx(expected, rel=1e-6)
    codes, same = _run(PRE, stats, train=False, k=1.5, decay=0.9)
    np.testing.assert_array_equal(codes, [[0, 0, 3, 2], [0, 0, 0, 0]])
    assert same == stats


def test_a_batch_in_which_nothing_is_positive_moves_no_threshold():
    _, stats = _run(PRE, k=1.5)
    codes, after = _run(-jnp.abs(PRE), stats, k=1.5)
    assert not codes.any()
    assert after == stats


def test_at_rest_an_example_does_not_depend_on_the_others():
    _, stats = _run(PRE, k=1.5)
    whole, _ = _run(PRE, stats, train=False, k=1.5)
    alone, _ = _run(PRE[:1], stats, train=False, k=1.5)
    np.testing.assert_array_equal(alone, whole[:1])


def test_before_training_every_positive_latent_is_active():
    codes, _ = _run(PRE, train=False, k=1)
    np.testing.assert_array_equal(codes, np.maximum(PRE, 0))


@pytest.mark.parametrize("fields", [dict(k=0), dict(k=-1.0), dict(k=1, decay=1.0)])
def test_fields_that_cannot_be(fields):
    with pytest.raises(ValueError, match="it must be"):
        batch_topk.Activation(**fields)
