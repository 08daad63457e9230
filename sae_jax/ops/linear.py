"""The encoder's affine map, with a gradient that does no more matrix products than it must."""

import jax
from jaxtyping import Array, Float


@jax.custom_vjp
def encode(
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
) -> Float[Array, "batch d_sae"]:
    """Returns the pre-activations `(x - centre) w_enc + b_enc`.

    The gradient of `centre` is `-w_enc (sum over the batch of g)`. Autodiff takes the product first
    and the sum second, a whole `[batch, d_sae] x [d_sae, d_in]` product for one vector: a sixth of
    the arithmetic of a training step.
    """
    return (x - centre[None]) @ w_enc + b_enc[None]


def _forward(x: Array, centre: Array, w_enc: Array, b_enc: Array) -> tuple[Array, tuple]:
    centred = x - centre[None]
    return centred @ w_enc + b_enc[None], (centred, w_enc)


def _backward(residuals: tuple, g: Array) -> tuple[Array, Array, Array, Array]:
    centred, w_enc = residuals
    total = g.sum(axis=0)
    return g @ w_enc.T, -(w_enc @ total), centred.T @ g, total


encode.defvjp(_forward, _backward)
