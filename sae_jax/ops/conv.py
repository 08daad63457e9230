"""Convolutions over series and pictures, their transposes, and pooling, for grids of any size.

Arrays are `[batch, *size, channels]`, with one or two numbers in `size`. A convolution of stride s
makes ceil(n / s) of n places (zeros beyond the edge, as many on both sides); its transpose makes
any of those n of ceil(n / s), so what an encoder halves a decoder restores, odd sizes included.

  <y, convolve(x, w)> = <transposed(y, w), x> = sum over p, q of x_{s p + q} w_q y_p

is linear in each of x, w and y, so the gradients of both are the other one, and one product more.
They are written out, each as a convolution of the one layout that XLA's fast routine takes on CPU:
inside loops, where training steps are, it leaves the layouts of autodiff as they are and is up to
twenty times slower. No forward-mode derivatives, then.
"""

from collections.abc import Sequence
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "batch *size c_in"], w: Float[Array, "*kernel c_in c_out"], stride: int = 1
) -> Float[Array, "batch *smaller c_out"]:
    """Returns `out_p = sum_q x_{stride p + q} w_q`, q counted from about the kernel's middle."""
    edges = _edges(x.shape[1:-1], w.shape[:-2], stride)
    return _product(x, w, edges, stride=stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def transposed(
    y: Float[Array, "batch *smaller c_in"],
    w: Float[Array, "*kernel c_out c_in"],
    size: tuple[int, ...],
    stride: int = 1,
) -> Float[Array, "batch *size c_out"]:
    """Returns the transpose of `convolve(., w, stride)`, a map from `smaller` places to `size`."""
    sides, edges = w.shape[:-2], _edges(size, w.shape[:-2], stride)
    around = []
    for n, m, side, (before, _) in zip(size, y.shape[1:-1], sides, edges, strict=True):
        first = side - 1 - before
        around.append((first, n + side - 1 - first - ((m - 1) * stride + 1)))
    turned = jnp.flip(w, range(len(sides))).swapaxes(-1, -2)
    return _product(y, turned, around, spread_x=stride)


def _by_kernel(x: Array, y: Array, sides: tuple[int, ...], stride: int) -> Array:
    """Returns `sum over p of x_{stride p + q} y_p` for each q: what w is paired with."""
    edges = _edges(x.shape[1:-1], sides, stride)
    around = [
        (before, (m - 1) * stride + side - n - before)
        for n, m, side, (before, _) in zip(x.shape[1:-1], y.shape[1:-1], sides, edges, strict=True)
    ]
    # Examples take the place of channels, and channels that of examples.
    x, y = jnp.moveaxis(x, -1, 0), jnp.moveaxis(y, 0, -2)
    x = jnp.moveaxis(x, 1, -1)
    return jnp.moveaxis(_product(x, y, around, spread_w=stride), 0, -2)


def _product(
    x: Array,
    w: Array,
    edges: Sequence[tuple[int, int]],
    stride: int = 1,
    spread_x: int = 1,
    spread_w: int = 1,
) -> Array:
    """Returns XLA's convolution, with zeros between the places of x or w where they are spread."""
    space = "HW"[: x.ndim - 2]
    return lax.conv_general_dilated(
        x,
        w.astype(x.dtype),
        (stride,) * len(space),
        edges,
        lhs_dilation=(spread_x,) * len(space),
        rhs_dilation=(spread_w,) * len(space),
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


def _edges(size: Sequence[int], sides: Sequence[int], stride: int) -> list[tuple[int, int]]:
    """Returns how many zeros stand before and after the places of each axis."""
    beyond = [
        max((m - 1) * stride + side - n, 0)
        for n, m, side in zip(size, smaller(size, stride), sides, strict=True)
    ]
    return [(zeros // 2, zeros - zeros // 2) for zeros in beyond]


def _convolve_forward(x: Array, w: Array, stride: int) -> tuple[Array, tuple]:
    return convolve(x, w, stride), (x, w)


def _convolve_backward(stride: int, saved: tuple, g: Array) -> tuple[Array, Array]:
    x, w = saved
    slope = _by_kernel(x, g, w.shape[:-2], stride).astype(w.dtype)
    return transposed(g, w, x.shape[1:-1], stride), slope


def _transposed_forward(
    y: Array, w: Array, size: tuple[int, ...], stride: int
) -> tuple[Array, tuple]:
    return transposed(y, w, size, stride), (y, w)


def _transposed_backward(
    size: tuple[int, ...], stride: int, saved: tuple, g: Array
) -> tuple[Array, Array]:
    del size
    y, w = saved
    return convolve(g, w, stride), _by_kernel(g, y, w.shape[:-2], stride).astype(w.dtype)


convolve.defvjp(_convolve_forward, _convolve_backward)
transposed.defvjp(_transposed_forward, _transposed_backward)


def max_pool(
    x: Float[Array, "batch *size channels"], window: int, stride: int
) -> Float[Array, "batch *smaller channels"]:
    """Returns the largest number in each window; windows lie as those of `convolve` do.

    As maxima of shifted copies, one axis after the other: the gradient of XLA's own window
    reduction takes fifteen times as long on CPU.
    """
    for axis in range(1, x.ndim - 1):
        x = _max_along(x, axis, window, stride)
    return x


def add_bias(
    maps: Float[Array, "batch *size channels"], bias: Float[Array, " channels"]
) -> Float[Array, "batch *size channels"]:
    """Returns `maps + bias`, one number a channel."""
    return maps + bias.reshape((1,) * (maps.ndim - 1) + (-1,))


def kernel(
    key: jax.Array, side: int, dims: int, c_in: int, c_out: int, gain: float
) -> Float[Array, "*kernel c_in c_out"]:
    """Returns a kernel of `dims` sides, normal of variance `gain / (side**dims c_in)`, cut at 2 sd.

    With the gain 1 the numbers that a linear layer makes are as large as those that it sees.
    """
    fan_in = side**dims * c_in
    init = jax.nn.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
    # As a matrix: of four axes and few numbers, XLA compiles the drawing for 15 s on CPU.
    return init(key, (fan_in, c_out)).reshape(*[side] * dims, c_in, c_out)


def smaller(size: Sequence[int], stride: int) -> tuple[int, ...]:
    """Returns how many places a stride leaves of each number of places."""
    return tuple(-(-n // stride) for n in size)


def _max_along(x: Array, axis: int, window: int, stride: int) -> Array:
    (count,) = smaller((x.shape[axis],), stride)
    (beyond,) = _edges((x.shape[axis],), (window,), stride)
    edges = [(0, 0)] * x.ndim
    edges[axis] = beyond
    x = jnp.pad(x, edges, constant_values=-jnp.inf)
    last = (count - 1) * stride + 1
    shifted = [lax.slice_in_dim(x, start, start + last, stride, axis) for start in range(window)]
    return functools.reduce(jnp.maximum, shifted)
