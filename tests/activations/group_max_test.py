import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import abs_topk, group_max

PRE = jnp.asarray([[0.5, -1.0, 3.0, -4.0], [-4.0, -1.0, -3.0, 2.0]], jnp.float32)
CONTEXT = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(4, bool), True)


def test_the_largest_of_each_group_is_kept_if_it_is_positive():
    found = group_max.Activation(k=2)(PRE, CONTEXT)
    np.testing.assert_array_equal(found, [[0.5, 0, 3, 0], [0, 0, 0, 2]])


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(errors.ConfigError, match="config.model.activation.k=3 groups of 4 latents"):
        group_max.Activation(k=3)(PRE, CONTEXT)


def test_its_choice_is_that_of_the_dense_form():
    pre = jnp.asarray(np.random.default_rng(0).standard_normal((5, 128)), jnp.float32)
    activation = group_max.Activation(k=4)
    chosen = np.asarray(activation.choose(pre, CONTEXT))
    dense = np.asarray(activation(pre, CONTEXT))
    np.testing.assert_array_equal(
        np.maximum(np.take_along_axis(pre, chosen, 1), 0), np.take_along_axis(dense, chosen, 1)
    )
    assert (dense != 0).sum() == (np.take_along_axis(dense, chosen, 1) != 0).sum()


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_abs_topk_keeps_signs(form):
    activation = abs_topk.Activation(k=2, form=form)
    kept = np.asarray([[0, 0, 1, 1], [1, 0, 1, 0]])
    if form == "dense":
        np.testing.assert_array_equal(activation(PRE, CONTEXT), PRE * kept)
    else:
        chosen = np.sort(np.asarray(activation.choose(PRE, CONTEXT)), axis=1)
        np.testing.assert_array_equal(chosen, [[2, 3], [0, 2]])
