"""Adam whose two moments are kept in 16 or 8 bits; what they are in a step is float32.

  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
  update = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

"bfloat16": m is rounded to the nearest, v stochastically: up or down with the probability that
makes its mean right. To the nearest v would never move, as a step's share of it, 1 - b2 = 0.001, is
less than half the distance of two bfloat16, 1/256 to 1/128 of v.

"int8": a matrix has a scale s for each of its latents (for each number of its longer side), which
follows the largest gradient there:

  s_m = b1 s_m + (1 - b1) max |g|,  s_v = b2 s_v + (1 - b2) max g^2

and so is never below the largest |m| and v. What is kept is a float of 8 bits of m / s_m and of
v / s_v, rounded stochastically: 1 bit of sign, 4 of exponent and 3 of mantissa for m; 5 and 3 for
v. Neighbours are 1/16 to 1/8 apart, from 1 down to 2e-5 for m and 3e-10 for v. Below that m is 0 or
the smallest, so that its mean is right, and v the smallest: were it 0, m would be divided by eps.
Vectors stay as they are.

Moments in 8 bits with a scale for each block are those of Dettmers et al. 2022 (arXiv 2110.02861);
there blocks have 2,048 numbers, whichever parameters they belong to, their scale is their largest
number, neighbours are as far apart as a tree of decimal fractions has it, and all is rounded to the
nearest. Here a block is a latent, so that it lies on a device with its latent, and no pass over the
moments is needed to find their largest.

What decides which way to round is a hash of the step and of a number's place: a run that goes on
from a checkpoint rounds as if it had never stopped, and so do other numbers of devices.
"""

from typing import Any, Literal, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array
import optax

from sae_jax.ops import rounding

Params = Any
Kind = Literal["bfloat16", "int8"]

_SHIFT = 20  # Of a float32's bits the sign, 8 bits of exponent and 3 of mantissa are above.
_ONE = 0x3F800000 >> _SHIFT  # What they are of 1.
_M, _V = 127, 255  # The largest codes: they stand for 1, those below for what comes before it.


class Moments(NamedTuple):
    """What Adam carries on, in few bits.

    Attributes:
      steps: int32 `[]`, so far.
      mu: of each parameter m, or its code.
      nu: of each parameter v, or its code.
      mu_scale: what codes of m are multiplied by, `[1, ..., latents, ..., 1]`; `[]` where m is kept
        as it is.
      nu_scale: what codes of v are multiplied by.
    """

    steps: Array
    mu: Params
    nu: Params
    mu_scale: Params
    nu_scale: Params


class _Step(NamedTuple):
    """The update of one parameter, and what `Moments` keeps of it."""

    update: Array
    mu: Array
    nu: Array
    mu_scale: Array
    nu_scale: Array


def scale_by_adam(b1: float, b2: float, eps: float, kind: Kind) -> optax.GradientTransformation:
    """Returns Adam's step, but for the learning rate, with moments in few bits.

    Args:
      b1: what is left of m after a step.
      b2: what is left of v after a step.
      eps: what is added to the square root of v.
      kind: "bfloat16" or "int8".
    """
    if kind not in ("bfloat16", "int8"):
        raise ValueError(f'moments="{kind}": choose float32, bfloat16 or int8')

    def init(params: Params) -> Moments:
        def zeros(param: Array) -> Array:
            small = jnp.bfloat16 if kind == "bfloat16" else jnp.uint8
            return jnp.zeros(param.shape, small if _is_kept_small(kind, param) else jnp.float32)

        def scale(param: Array) -> Array:
            return jnp.zeros(_scale_shape(param) if _has_scale(kind, param) else (), jnp.float32)

        mu, nu = (jax.tree.map(zeros, params) for _ in range(2))
        scales = [jax.tree.map(scale, params) for _ in range(2)]
        return Moments(jnp.zeros((), jnp.int32), mu, nu, *scales)

    def update(grads: Params, state: Moments, params: Params | None = None) -> tuple[Any, Moments]:
        del params
        count = optax.safe_increment(state.steps)
        corrections = [1 - b ** count.astype(jnp.float32) for b in (b1, b2)]

        def step(g: Array, mu: Array, nu: Array, mu_scale: Array, nu_scale: Array) -> _Step:
            scaled, small = _has_scale(kind, g), _is_kept_small(kind, g)
            m = _read_m(mu, mu_scale) if scaled else mu.astype(jnp.float32)
            v = _read_v(nu, nu_scale) if scaled else nu.astype(jnp.float32)
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            move = m / corrections[0] / (jnp.sqrt(v / corrections[1]) + eps)
            if scaled:
                within = tuple(axis for axis, n in enumerate(mu_scale.shape) if n == 1)
                largest = jnp.abs(g).max(axis=within, keepdims=True)
                mu_scale = b1 * mu_scale + (1 - b1) * largest
                nu_scale = b2 * nu_scale + (1 - b2) * largest**2
                chance = rounding.chance(g.shape, count)
                mu = _write_m(m, mu_scale, chance & 0xFFFF)
                nu = _write_v(v, nu_scale, chance >> 16)
            elif small:
                mu, nu = (
                    m.astype(jnp.bfloat16),
                    rounding.to_bfloat16(v, rounding.chance(g.shape, count) >> 16),
                )
            else:
                mu, nu = m, v
            return _Step(move, mu, nu, mu_scale, nu_scale)

        steps = jax.tree.map(step, grads, state.mu, state.nu, state.mu_scale, state.nu_scale)
        one = jax.tree.structure(_Step(*[count] * len(_Step._fields)))
        updates, *moved = jax.tree.transpose(jax.tree.structure(grads), one, steps)
        return updates, Moments(count, *moved)

    return optax.GradientTransformation(init, update)


def _is_kept_small(kind: Kind, param: Array) -> bool:
    return kind == "bfloat16" or _has_scale(kind, param)


def _has_scale(kind: Kind, param: Array) -> bool:
    return kind == "int8" and param.ndim > 1


def _scale_shape(param: Array) -> tuple[int, ...]:
    """Returns the shape of scales, one for each number of the longest axis."""
    longest = max(range(param.ndim), key=lambda axis: param.shape[axis])
    return tuple(n if axis == longest else 1 for axis, n in enumerate(param.shape))


def _share(x: Array, scale: Array) -> Array:
    """Returns `x / scale`, at most 1; 0 where there is no scale yet."""
    return jnp.minimum(x / jnp.where(scale > 0, scale, 1.0), 1.0)


def _read_m(code: Array, scale: Array) -> Array:
    size = _float(code & 0x7F, _M)
    return jnp.where(code > _M, -size, size) * scale


def _read_v(code: Array, scale: Array) -> Array:
    return _float(code, _V) * scale


def _write_m(m: Array, scale: Array, chance: Array) -> Array:
    size = _code(_share(jnp.abs(m), scale), _M, chance)
    return jnp.where((m < 0) & (size > 0), size + 128, size).astype(jnp.uint8)


def _write_v(v: Array, scale: Array, chance: Array) -> Array:
    size = _code(_share(v, scale), _V, chance)
    return jnp.where(v > 0, jnp.maximum(size, 1), 0).astype(jnp.uint8)


def _float(code: Array, largest: int) -> Array:
    """Returns what a code stands for, from 0 to 1; 0 for 0."""
    bits = (code.astype(jnp.uint32) + (_ONE - largest)) << _SHIFT
    return jnp.where(code > 0, lax.bitcast_convert_type(bits, jnp.float32), 0.0)


def _code(share: Array, largest: int, chance: Array) -> Array:
    """Returns, as uint32, the code below or above `share`, from 0 to 1, by a 16-bit `chance`."""
    bits = lax.bitcast_convert_type(share, jnp.uint32) + (chance << (_SHIFT - 16))
    code = jnp.maximum(bits >> _SHIFT, _ONE - largest) - (_ONE - largest)
    smallest = 2.0 ** ((_ONE - largest + 1) // 8 - 127) * (1 + (_ONE - largest + 1) % 8 / 8)
    some = (chance.astype(jnp.float32) + 0.5) * (smallest / 2**16) < share
    return jnp.where(share < smallest, some.astype(jnp.uint32), code)
