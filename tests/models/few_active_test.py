"""Models whose products leave out zeros have the gradients of those that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import jumprelu, relu
from sae_jax.models import crosscoder, sae, transcoder
from sae_jax.ops import few

ROWS, D_IN, D_SAE = 12, 8, 64
CONTEXT = types.Context(jnp.int32(0), jax.random.key(0), jnp.zeros(D_SAE, bool), train=True)
X = jnp.asarray(np.random.RandomState(0).randn(ROWS, D_IN), jnp.float32)
RELU = relu.Activation()
JUMP = jumprelu.Activation(start=0.4, bandwidth=0.5, to_input=True)

MODELS = {
    "sae": sae.Model(D_IN, D_SAE, RELU),
    "tied": sae.Model(D_IN, D_SAE, RELU, tied=True),
    "sae with jumprelu": sae.Model(D_IN, D_SAE, JUMP, rescale=True, decoder_norm=0.7),
    "sigmoid at the output": sae.Model(D_IN, D_SAE, RELU, output="sigmoid"),
    "transcoder": transcoder.Model(D_IN, 5, D_SAE, RELU, skip="full"),
    "crosscoder": crosscoder.Model(D_IN, D_SAE, JUMP, grid=(2, 4), rescale=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same(name, monkeypatch):
    model = MODELS[name]
    at_rest = types.Context(CONTEXT.step, CONTEXT.key, CONTEXT.dead)
    variables = model.init(jax.random.key(1), X, at_rest)
    params = dict(variables["params"])
    params["b_enc"] = params["b_enc"] - 1.0
    noted = []

    def gradient():
        def loss(params):
            output = model.apply({**variables, "params": params}, X, CONTEXT)
            noted.append(output.pre.few)
            fits = jnp.asarray(False) if output.pre.few is None else output.pre.few.fits
            return jnp.square(output.x_hat - 1).sum() + output.codes.sum(), fits

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    wanted, _ = gradient()
    assert noted == [None]
    monkeypatch.setattr(few, "_LEAST", D_SAE)
    monkeypatch.setattr(few, "_SHARE", 2)
    ours, fits = gradient()
    assert fits
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
