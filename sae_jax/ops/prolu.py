"""ProLU's two synthetic gradients: what moves a threshold that has no derivative.

  prolu(m, b) = m if m > 0 and m + b > 0, else 0;   here b = -theta

Where a latent is active, and with g the gradient of its code, the bias b and m are given

  relu   g to b, g to m               as in ReLU(m + b)
  ste    g m to b, g (1 + m) to m     a straight-through step: d/ds H(s) is taken to be 1 there

(Taggart 2024, "ProLU: A Nonlinearity for Sparse Autoencoders", and the author's code.) Where it is
not active there is none. A positive b does the same as 0, so theta need not be negative.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def prolu(
    pre: Float[Array, "batch d_sae"], theta: Float[Array, " d_sae"], ste: bool
) -> Float[Array, "batch d_sae"]:
    """Returns `pre` where it exceeds both 0 and theta, and zeros.

    Args:
      pre: m.
      theta: -b, thresholds.
      ste: whether gradients are those of the straight-through step, or those of ReLU.
    """
    del ste
    return jnp.where(pre > jnp.maximum(theta, 0.0)[None], pre, 0.0)


def _forward(pre: Array, theta: Array, ste: bool) -> tuple[Array, Array]:
    codes = prolu(pre, theta, ste)
    return codes, codes


def _backward(ste: bool, codes: Array, g: Array) -> tuple[Array, Array]:
    active = jnp.where(codes > 0, g, 0.0)
    to_bias = active * codes if ste else active
    return active + to_bias if ste else active, -to_bias.sum(axis=0)


prolu.defvjp(_forward, _backward)
