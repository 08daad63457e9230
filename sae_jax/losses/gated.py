"""What trains a gate that has no gradient of its own; for `gated` (arXiv 2404.16014, equation 8).

Both terms read `ReLU(pre)`, what the latents would be if the gate's half of the encoder were all.
Together with `mse_sum` they are the paper's loss; `gate_l1` has the weight lambda there, the others
1. Sums over latents and over d.
"""

import jax
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import geometry, sparse


def gate_l1(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `sum_i ReLU(pre_i)`. Meant for decoder rows of norm 1."""
    del params, batch, context
    return jax.nn.relu(sparse.all_of(output.pre)).sum(axis=-1)


def gate_reconstruction(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `||target - ReLU(pre) sg(w_dec) - sg(b_dec)||^2`; sg stops the gradient.

    So that gates are open where a latent is of use; the decoder must not learn from it.
    """
    del context
    w_dec, b_dec = jax.lax.stop_gradient((geometry.decoder_rows(params, output), params["b_dec"]))
    x_hat = jax.nn.relu(sparse.all_of(output.pre)) @ w_dec + b_dec[None]
    return ((batch.target - x_hat) ** 2).sum(axis=-1)
