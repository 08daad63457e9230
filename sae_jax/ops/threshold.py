"""Jumps at a learned threshold, with what stands for the derivative they do not have.

The mean of `H(pre - theta)` over examples is smooth in theta although no single one is: its slope
is minus the density of `pre` at theta. A kernel estimate of that density, with the rectangle
`K(u) = 1 if |u| < 1/2 else 0` of width `bandwidth`, gives each example its share:

  d/dtheta H(pre - theta)      = -1/bandwidth      K((pre - theta) / bandwidth)
  d/dtheta pre H(pre - theta)  = -theta/bandwidth  K((pre - theta) / bandwidth)

(Rajamanoharan et al. 2024, arXiv 2407.14435, equations 11 and 12). Towards `pre` the first has no
gradient and the second `H(pre - theta)` there; with `to_input` the opposite of theirs is added,
since only the difference of the two decides the jump (Anthropic, Circuits Updates, January 2025).
A bandwidth is in the units of `pre`: 0.001 is meant for inputs of mean square norm 1.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax.ops import nonzero


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def step(
    pre: Float[Array, "batch d_sae"],
    theta: Float[Array, " d_sae"],
    bandwidth: float,
    to_input: bool,
) -> Float[Array, "batch d_sae"]:
    """Returns `H(pre - theta)`: 1 where `pre > theta`, strictly, and 0 elsewhere."""
    del bandwidth, to_input
    return (pre > theta[None]).astype(pre.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def count(
    pre: Float[Array, "batch d_sae"],
    theta: Float[Array, " d_sae"],
    bandwidth: float,
    to_input: bool,
) -> Float[Array, " batch"]:
    """Returns the sum of `step` over each row, of which no array is written down."""
    return nonzero.in_rows(step(pre, theta, bandwidth, to_input))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def jump(
    pre: Float[Array, "batch d_sae"],
    theta: Float[Array, " d_sae"],
    bandwidth: float,
    to_input: bool,
) -> Float[Array, "batch d_sae"]:
    """Returns `pre H(pre - theta)`: JumpReLU, for thresholds that are not negative."""
    del bandwidth, to_input
    return jnp.where(pre > theta[None], pre, 0.0)


def _near(pre: Array, theta: Array, bandwidth: float, g: Array) -> Array:
    """Returns `g K((pre - theta) / bandwidth)`."""
    return jnp.where(jnp.abs(pre - theta[None]) < bandwidth / 2, g, 0.0)


def _step_backward(
    bandwidth: float, to_input: bool, kept: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    near = _near(*kept, bandwidth, g)
    to_pre = near / bandwidth if to_input else jnp.zeros_like(near)
    return to_pre, -near.sum(axis=0) / bandwidth


def _count_backward(
    bandwidth: float, to_input: bool, kept: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    return _step_backward(bandwidth, to_input, kept, jnp.broadcast_to(g[:, None], kept[0].shape))


def _jump_backward(
    bandwidth: float, to_input: bool, kept: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    pre, theta = kept
    near = _near(pre, theta, bandwidth, g)
    through = jnp.where(pre > theta[None], g, 0.0)
    share = theta / bandwidth
    to_pre = through + share[None] * near if to_input else through
    # By latent at last: a factor of each number would be another array of all of them.
    return to_pre, -share * near.sum(axis=0)


def _forward(of: Callable[..., Array]) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    """Returns `of`, with what each backward pass here needs: pre-activations and thresholds."""
    return lambda pre, theta, *fixed: (of(pre, theta, *fixed), (pre, theta))


step.defvjp(_forward(step), _step_backward)
count.defvjp(_forward(count), _count_backward)
jump.defvjp(_forward(jump), _jump_backward)
