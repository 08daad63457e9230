"""The encoder's affine map and the dense decoder, with gradients of no more products than needed.

With `compute="bfloat16"` the operands of every product, forwards and backwards, are rounded to
bfloat16 and its sums are kept in float32; parameters, and all that is no product, stay float32.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Compute = Literal["float32", "bfloat16"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def encode(
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
    compute: Compute = "float32",
) -> Float[Array, "batch d_sae"]:
    """Returns the pre-activations `(x - centre) w_enc + b_enc`.

    The gradient of `centre` is `-w_enc (sum over the batch of g)`. Autodiff takes the product first
    and the sum second, a whole `[batch, d_sae] x [d_sae, d_in]` product for one vector: a sixth of
    the arithmetic of a training step.
    """
    return product(x - centre[None], w_enc, compute) + b_enc[None]


def _encode_forward(
    x: Array, centre: Array, w_enc: Array, b_enc: Array, compute: Compute
) -> tuple[Array, tuple]:
    centred = x - centre[None]
    return product(centred, w_enc, compute) + b_enc[None], (centred, w_enc)


def _encode_backward(
    compute: Compute, residuals: tuple, g: Array
) -> tuple[Array, Array, Array, Array]:
    centred, w_enc = residuals
    slope, total = transposed_product(centred, g, compute)
    to_x, to_centre = product(g, w_enc.T, compute), -weighted_sum(w_enc, total)
    return to_x, to_centre, slope.astype(w_enc.dtype), total


encode.defvjp(_encode_forward, _encode_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def decode(
    codes: Float[Array, "batch d_sae"], w_dec: Float[Array, "d_sae d"], compute: Compute = "float32"
) -> Float[Array, "batch d"]:
    """Returns `codes w_dec`."""
    return product(codes, w_dec, compute)


def _decode_forward(codes: Array, w_dec: Array, compute: Compute) -> tuple[Array, tuple]:
    return product(codes, w_dec, compute), (codes, w_dec)


def _decode_backward(compute: Compute, residuals: tuple, g: Array) -> tuple[Array, Array]:
    codes, w_dec = residuals
    return product(g, w_dec.T, compute), product(codes.T, g, compute).astype(w_dec.dtype)


decode.defvjp(_decode_forward, _decode_backward)


def transposed_product(
    x: Float[Array, "batch d_in"], g: Float[Array, "batch d_sae"], compute: Compute
) -> tuple[Float[Array, "d_in d_sae"], Float[Array, " d_sae"]]:
    """Returns `x^T g` and the sum of `g` over the batch.

    The sum is the product of one more row, of ones, and so takes no pass over `g` of its own; but
    where operands are rounded, which it is not.
    """
    if compute != "float32":
        return product(x.T, g, compute), g.sum(axis=0)
    both = jnp.concatenate([x, jnp.ones((len(x), 1), x.dtype)], axis=1).T @ g
    return both[:-1], both[-1]


def weighted_sum(w: Float[Array, "d latents"], weights: Float[Array, " latents"]) -> Array:
    """Returns `w weights`, `[d]`, float32."""
    if w.dtype == weights.dtype:
        return w @ weights
    return (w * weights[None]).sum(axis=1)  # A product would first copy w in the wider type.


def product(a: Array, b: Array, compute: Compute) -> Array:
    """Returns `a b`, with operands of the type `compute`; without a gradient of its own."""
    if compute == "float32":
        return a @ b
    return jnp.matmul(a.astype(compute), b.astype(compute), preferred_element_type=jnp.float32)
