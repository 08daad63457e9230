"""Products of codes of which few happen to be active: the sparse form, where it pays at this step.

How many latents a ReLU leaves active nobody knows before the step. So codes stay an array
`[batch, d_sae]` for all that reads them, and each product with a weight matrix is taken in one of
two forms, decided when it is taken: the dense one, or that of `sae_jax/ops/sparse.py`, which leaves
out products with zeros. Both are the same sums. Of 12,288 latents, with d_in 768 and 2,048 examples
on two CPU cores, a step of ReLU with L1 takes 0.27 s when 30 are active, 0.38 s when 100 are, and
0.53 s in the dense form.

  `find`     says which latents count, where they are few enough
  `attach`   gives pre-activations their gradient
  `product`  decodes

A latent counts in an example where its code is not 0, or what its code's gradient is matters: that
is where the `margin` of its activation is above 0. Elsewhere codes have to be 0 and the activation
must not read their gradient; of `attach` this is not assumed but seen.
"""

import functools

import jax
from jax import lax
from jax.experimental import layout
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import linear, nonzero, sharded, sparse, topk

_LEAST = 2048  # Latents: with fewer all of them cost little.
_SHARE = 64  # An example's latents are few if no more than one of so many counts.


def find(margin: Float[Array, "batch d_sae"]) -> types.Few | None:
    """Returns which latents count, or None where the dense form is the faster one in any case.

    That is with few latents, over several devices, and, as far as it is measured, off CPUs.

    Args:
      margin: 0 or more; above 0 for latents that count. No gradient passes.
    """
    batch, d_sae = margin.shape
    if d_sae < _LEAST or sharded.split(batch, d_sae).mapped:
        return None
    most = d_sae // _SHARE
    margin = lax.stop_gradient(margin)

    def few(margin: Array) -> Array:
        return nonzero.in_rows(margin).max() <= most

    def none(margin: Array) -> Array:
        del margin
        return jnp.zeros((), bool)

    def found(margin: Array) -> tuple[Array, Array]:
        values, indices = topk.top_k(margin, most)
        return indices, (values > 0).astype(margin.dtype)

    def nothing(margin: Array) -> tuple[Array, Array]:
        shape = (batch, most)
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, margin.dtype)

    fits = lax.platform_dependent(margin, cpu=few, default=none)
    return types.Few(fits, *lax.cond(fits, found, nothing, margin))


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def attach(
    pre: Float[Array, "batch d_sae"],
    few: types.Few,
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
    compute: linear.Compute = "float32",
) -> Float[Array, "batch d_sae"]:
    """Returns `pre`, which is `(x - centre) w_enc + b_enc` already, with the gradient of that.

    None reaches `pre`. Where the gradient of `pre` is not 0 for some latent that does not count, as
    with a term that reads all pre-activations, the dense form is taken.
    """
    del few, x, centre, w_enc, b_enc, compute
    return pre


def _attach_forward(
    pre: Array, few: types.Few, x: Array, centre: Array, w_enc: Array, b_enc: Array, compute: str
) -> tuple[Array, tuple]:
    del b_enc, compute
    return pre, (few, x - centre[None], w_enc)


def _attach_backward(compute: linear.Compute, residuals: tuple, g: Array) -> tuple:
    few, centred, w_enc = residuals

    def known(g: Array) -> Array:
        return (nonzero.in_rows(g) == nonzero.in_rows(_at(g, few.indices))).all()

    def by_latent(g: Array) -> tuple[Array, Array, Array]:
        values = _at(g, few.indices)
        to_x = sparse.decode(values, few.indices, w_enc.T)
        total = sparse.by_latent(values, few.indices, w_enc.shape[1])
        start = jnp.zeros(w_enc.shape[::-1], g.dtype)
        slope = sparse.scatter(values, few.indices, centred, start).T
        # Turned round here: else the dense form would be, and back.
        return to_x, layout.with_layout_constraint(slope, layout.Layout((0, 1))), total

    def whole(g: Array) -> tuple[Array, Array, Array]:
        return linear.product(g, w_enc.T, compute), *linear.transposed_product(centred, g, compute)

    fits = lax.cond(few.fits, known, lambda g: few.fits, g)
    to_x, slope, total = lax.cond(fits, by_latent, whole, g)
    slope = slope.astype(w_enc.dtype)
    return jnp.zeros_like(g), None, to_x, -linear.weighted_sum(w_enc, total), slope, total


attach.defvjp(_attach_forward, _attach_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def product(
    codes: Float[Array, "batch d_sae"],
    few: types.Few,
    w_dec: Float[Array, "d_sae d"],
    compute: linear.Compute = "float32",
) -> Float[Array, "batch d"]:
    """Returns `codes w_dec`. In the sparse form the gradient of codes that do not count is 0."""
    return _product_forward(codes, few, w_dec, compute)[0]


def _product_forward(
    codes: Array, few: types.Few, w_dec: Array, compute: linear.Compute
) -> tuple[Array, tuple]:
    def by_latent(codes: Array) -> Array:
        return sparse.decode(_at(codes, few.indices) * few.counts, few.indices, w_dec)

    def whole(codes: Array) -> Array:
        return linear.product(codes, w_dec, compute)

    return lax.cond(few.fits, by_latent, whole, codes), (codes, few, w_dec)


def _product_backward(compute: linear.Compute, residuals: tuple, g: Array) -> tuple:
    codes, few, w_dec = residuals

    def by_latent(codes: Array) -> tuple[Array, Array]:
        values = _at(codes, few.indices)
        to_codes = sparse.products(g, few.counts, few.indices, w_dec)
        placed = sparse.dense(types.Codes(to_codes, few.indices, codes.shape[1]))
        start = jnp.zeros(w_dec.shape, g.dtype)
        return placed, sparse.scatter(values, few.indices, g, start)

    def whole(codes: Array) -> tuple[Array, Array]:
        return linear.product(g, w_dec.T, compute), linear.product(codes.T, g, compute)

    to_codes, slope = lax.cond(few.fits, by_latent, whole, codes)
    return to_codes, None, slope.astype(w_dec.dtype)


product.defvjp(_product_forward, _product_backward)


def _at(x: Array, indices: Array) -> Array:
    return jnp.take_along_axis(x, indices, axis=1)
