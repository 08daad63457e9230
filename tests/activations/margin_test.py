"""Where an activation's margin is 0, its code is 0 and nothing reads the gradient of the code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import jumprelu, relu

CONTEXT = types.Context(jnp.int32(0), jax.random.key(0), jnp.zeros(64, bool), train=True)
PRE = jnp.asarray(np.random.RandomState(0).randn(32, 64), jnp.float32)


@pytest.mark.parametrize(
    "activation",
    [
        relu.Activation(),
        jumprelu.Activation(start=0.7, bandwidth=0.4),
        jumprelu.Activation(start=0.7, bandwidth=0.4, to_input=True),
        jumprelu.Activation(start=0.1, bandwidth=0.6),
    ],
    ids=["relu", "jumprelu", "jumprelu to its input", "thresholds below half a bandwidth"],
)
def test_margin_covers_all_that_matters(activation):
    variables = activation.init(jax.random.key(1), PRE, CONTEXT)
    margin = np.asarray(activation.apply(variables, PRE, method="margin"))
    assert margin.min() == 0
    out = margin == 0
    assert out.mean() > 0.2

    def codes(params, pre):
        return activation.apply({**variables, "params": params}, pre, CONTEXT)

    found, pull = jax.vjp(codes, variables.get("params", {}), PRE)
    assert not np.asarray(found)[out].any()
    unread = jnp.where(out, 1e3, 0.0)  # A gradient where none may be read.
    for slope in jax.tree.leaves(pull(unread)):
        assert not np.asarray(slope).any()
