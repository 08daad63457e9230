"""Matrices of a trained model as int8: a quarter of the bytes, and what that costs.

Symmetric, a scale for each output channel c, which is the last axis of a matrix `[d_in, d_out]` and
of a convolution's kernel `[height, width, channels in, channels out]`:

  scale_c = max |w_c| / 127, rounded up to 17 bits
  q       = w / scale, rounded to the nearest whole number, halves to the even one: -127 ... 127
  w_q     = q scale,        |w - w_q| <= scale / 2

(the per-channel symmetric scheme of Krishnamoorthi 2018, arXiv:1806.08342, section 3.1). With 17
bits every `q scale` is a float32 without rounding, so that what was quantised once does not change
when it is quantised again. Biases and arrays of fewer than `SMALLEST` numbers stay as they are, and
so do all arithmetic and the codes: only weights are stored in 8 bits.

`apply` computes with the int8 matrices themselves: `x (q scale) = (x q) scale` wherever the axis of
the scale is not summed over. So a device that multiplies in bfloat16 rounds no weight a second time
(-127 ... 127 are exact in it), and a program holds int8 constants. A tied encoder, which sums over
that axis, takes `q scale`. It is the file that becomes small: a compiler may widen the constants
once, when it loads the program, which makes the program as fast as that of float32.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from flax import struct
import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from sae_jax import errors

PyTree = Any
SMALLEST = 1024  # Numbers; an array of fewer is 4 kB or less and not worth the error.


@struct.dataclass
class Int8:
    """A matrix of which 8 bits a number are kept.

    Attributes:
      q: int8 `[..., channels]`, from -127 to 127.
      scale: float32 `[channels]`, what a step of 1 in `q` is.
    """

    q: np.ndarray
    scale: np.ndarray

    def whole(self) -> jax.Array:
        """Returns the matrix, float32."""
        return jnp.asarray(self.q).astype(jnp.float32) * _along(self.scale, -1, self.q.ndim)


def quantise(params: PyTree, smallest: int = SMALLEST) -> PyTree:
    """Returns the parameters with an `Int8` in the place of every matrix.

    Args:
      params: of a trained model, arrays.
      smallest: an array of fewer numbers stays as it is.

    Raises:
      DataError: a weight is not finite.
    """

    def leaf(path: Any, w: Any) -> Any:
        w = np.asarray(w)
        if w.ndim < 2 or w.size < smallest or not jnp.issubdtype(w.dtype, jnp.floating):
            return w
        if not np.isfinite(w).all():
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise errors.DataError(f"{name} is not finite: quantise a sound checkpoint")
        return matrix(w)

    return jax.tree_util.tree_map_with_path(leaf, params)


def matrix(w: np.ndarray) -> Int8:
    """Returns one array, quantised along its last axis.

    A channel of zeros, or of numbers near the smallest of float32, has scale 0.
    """
    w = np.asarray(w, np.float64)
    largest = np.abs(w).max(axis=tuple(range(w.ndim - 1)))
    mantissa, exponent = np.frexp(largest / 127)
    scale = np.ldexp(np.ceil(mantissa * 2**17), exponent - 17)
    scale = np.where(scale < np.finfo(np.float32).tiny, 0.0, scale).astype(np.float32)
    q = np.rint(w / np.where(scale > 0, scale, 1.0))
    return Int8(q.astype(np.int8), scale)


def dequantise(params: PyTree) -> PyTree:
    """Returns the parameters as arrays again, each matrix as its `q scale`."""
    return jax.tree.map(
        lambda leaf: leaf.whole() if _is_int8(leaf) else leaf, params, is_leaf=_is_int8
    )


def nbytes(params: PyTree) -> int:
    """Returns the bytes of all arrays, the scales included."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(params))


def apply(function: Callable[..., PyTree], params: PyTree, *args: PyTree) -> PyTree:
    """Returns `function(dequantise(params), *args)`, computed with the int8 matrices.

    The function is traced, and its products and convolutions with a matrix are taken with `q` first
    and `scale` after; what else is done to a matrix is done to `q scale`.

    Args:
      function: of parameters and arrays; returns arrays.
      params: what `quantise` returned.
      args: arrays, or what stands for them under `jit` and `jax.export`.
    """
    leaves, structure = jax.tree.flatten(params, is_leaf=_is_int8)
    shapes = [
        jax.ShapeDtypeStruct(leaf.q.shape, jnp.float32)
        if _is_int8(leaf)
        else jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf))
        for leaf in leaves
    ]
    traced, out = jax.make_jaxpr(function, return_shape=True)(
        jax.tree.unflatten(structure, shapes), *args
    )
    held = [_Held.of(leaf) if _is_int8(leaf) else leaf for leaf in leaves]
    results = _run(traced, [*held, *jax.tree.leaves(args)])
    return jax.tree.unflatten(jax.tree.structure(out), [_array(result) for result in results])


@dataclasses.dataclass(frozen=True)
class _Held:
    """An int8 matrix on its way through a program; `axis` counts its channels."""

    q: jax.Array
    scale: jax.Array
    axis: int

    @classmethod
    def of(cls, leaf: Int8) -> "_Held":
        return cls(jnp.asarray(leaf.q), jnp.asarray(leaf.scale), leaf.q.ndim - 1)

    def steps(self) -> jax.Array:
        return self.q.astype(jnp.float32)


# The programs within a program that are run in its place, and where each has its own.
_INNER = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def _run(program: core.ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """Evaluates a program of whose arguments some are `_Held`."""
    known: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    known.update(zip(program.jaxpr.invars, args, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    for equation in program.jaxpr.eqns:
        values = [read(var) for var in equation.invars]
        known.update(zip(equation.outvars, _evaluate(equation, values), strict=True))
    return [read(var) for var in program.jaxpr.outvars]


def _evaluate(equation: core.JaxprEqn, values: list[Any]) -> list[Any]:
    """Returns the results of one line of a program."""
    name = equation.primitive.name
    if name in _INNER:
        return _run(equation.params[_INNER[name]], values)
    if name in _RULES and sum(isinstance(value, _Held) for value in values) == 1:
        result = _RULES[name](equation, *values)
        if result is not None:
            return [result]
    result = equation.primitive.bind(*(_array(value) for value in values), **equation.params)
    return list(result) if equation.primitive.multiple_results else [result]


def _transpose(equation: core.JaxprEqn, held: _Held) -> _Held:
    order = equation.params["permutation"]
    return _Held(jax.lax.transpose(held.q, order), held.scale, order.index(held.axis))


def _dot(equation: core.JaxprEqn, left: Any, right: Any) -> jax.Array | None:
    """Returns a product, scaled afterwards; None where the channels are summed over."""
    summed, batch = equation.params["dimension_numbers"]
    side = int(isinstance(right, _Held))
    held = (left, right)[side]
    free = [
        [axis for axis in range(ndim) if axis not in (*summed[i], *batch[i])]
        for i, ndim in enumerate((_array_of(left).ndim, _array_of(right).ndim))
    ]
    if held.axis not in free[side]:
        return None
    product = equation.primitive.bind(*(_steps(v) for v in (left, right)), **equation.params)
    axis = len(batch[0]) + side * len(free[0]) + free[side].index(held.axis)
    return product * _along(held.scale, axis, product.ndim)


def _convolution(equation: core.JaxprEqn, x: Any, kernel: Any) -> jax.Array | None:
    """Returns a convolution, scaled afterwards; None where the channels are summed over."""
    numbers = equation.params["dimension_numbers"]
    if not isinstance(kernel, _Held) or kernel.axis != numbers.rhs_spec[0]:
        return None
    result = equation.primitive.bind(x, kernel.steps(), **equation.params)
    return result * _along(kernel.scale, numbers.out_spec[1], result.ndim)


_RULES: dict[str, Callable[..., Any]] = {
    "transpose": _transpose,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
}


def _array_of(value: Any) -> Any:
    return value.q if isinstance(value, _Held) else value


def _steps(value: Any) -> Any:
    return value.steps() if isinstance(value, _Held) else value


def _array(value: Any) -> Any:
    """Returns a value as the array that it stands for."""
    if not isinstance(value, _Held):
        return value
    return value.steps() * _along(value.scale, value.axis, value.q.ndim)


def _along(scale: Any, axis: int, ndim: int) -> jax.Array:
    """Returns a vector as an array of `ndim` axes that varies along one of them."""
    shape = [1] * ndim
    shape[axis] = len(scale)
    return jnp.reshape(scale, shape)


def _is_int8(leaf: Any) -> bool:
    return isinstance(leaf, Int8)
