"""Matrices of parameters kept in bfloat16, moved by steps of an optimiser in float32.

  params = round(params + update), up or down with the probability that makes the mean right

To the nearest most would never move: a step of Adam is about its learning rate, some 1e-4, and two
neighbours in bfloat16 are 1/256 to 1/128 of a number apart. Rounded so, each step has its effect on
average (Gupta et al. 2015, arXiv 1502.02551). Gradients are bfloat16 as their parameters are: each
term of the loss, and each of several parts of a batch, adds to them a sum that was float32 until it
was done. Vectors (biases, thresholds) stay float32.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array
import optax

from sae_jax.ops import rounding

Params = Any
Kind = Literal["float32", "bfloat16"]

_SALT = 0x5BD1E995  # Apart from the bits by which moments of the same step are rounded.


class Rounded(NamedTuple):
    """What `stored_as` carries on.

    Attributes:
      steps: int32 `[]`, so far.
      inner: of the optimiser, as if parameters were float32.
    """

    steps: Array
    inner: Any


def stored(params: Params, kind: Kind) -> Params:
    """Returns parameters as they are kept: matrices in `kind`, to the nearest."""
    return jax.tree.map(lambda p: p.astype(kind) if p.ndim > 1 else p, params)


def float32(params: Params) -> Params:
    """Returns parameters in float32; those that are float32 themselves."""
    return jax.tree.map(lambda p: p.astype(jnp.float32) if p.dtype == jnp.bfloat16 else p, params)


def stored_as(kind: Kind, step: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns the optimiser `step`, of parameters that are kept in `kind`.

    Args:
      kind: "float32" for `step` itself.
      step: what moves parameters, its constraint included. It is given float32.

    Raises:
      ValueError: there is no such `kind`.
    """
    if kind not in get_args(Kind):
        raise ValueError(f'parameters="{kind}": choose {" or ".join(get_args(Kind))}')
    if kind == "float32":
        return step

    def init(params: Params) -> Rounded:
        return Rounded(jnp.zeros((), jnp.int32), step.init(float32(params)))

    def update(grads: Params, state: Rounded, params: Params | None = None) -> tuple[Any, Rounded]:
        if params is None:
            raise ValueError("rounding needs the parameters: update(updates, state, params)")
        updates, inner = step.update(float32(grads), state.inner, float32(params))
        count = optax.safe_increment(state.steps)

        def move(param: Array, update: Array) -> Array:
            """Returns what leads exactly to the parameter after the step."""
            if param.dtype != jnp.bfloat16:
                return update
            old = param.astype(jnp.float32)
            chance = rounding.chance(param.shape, count + jnp.int32(_SALT)) & 0xFFFF
            return rounding.to_bfloat16(old + update, chance).astype(jnp.float32) - old

        return jax.tree.map(move, params, updates), Rounded(count, inner)

    return optax.GradientTransformation(init, update)
