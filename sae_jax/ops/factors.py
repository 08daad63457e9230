r"""Gradients of matrices as the few numbers that they are made of, where they would be as large.

A matrix `W` of a row for each latent, that a sparse product reads, has the gradient

  dL/dW = sum_b sum_j values[b, j] e_i x[b]^T,  i = indices[b, j]

of at most `batch k` rows that are not zeros: for `codes w_dec` values are codes and x what reaches
the product from the loss; for `(x - centre) w_enc` values are what reaches the pre-activations that
were taken, and x is `x - centre`. Kept as these factors it needs `batch (k + d)` numbers, not
`d_sae d`, and an optimiser that moves latents block by block asks for it block by block.

How: autodiff has a gradient for each array that a loss is given, of its shape. A `Factors` of zeros
is given for each use of a matrix, and the rule of that use sends it the factors. The matrices
themselves get no gradient; were one to reach them by another way, it would be refused rather than
lost.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import contextvars
import dataclasses
from typing import Any

from flax import struct
import jax
from jax import custom_derivatives, lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_AT_ONCE = 256  # Rows that are added at once: what a core's cache holds.
MOST = 2**24  # Latents that float32 can count.


class OtherReaderError(Exception):
    """The gradient of a matrix is not that of sparse products alone: it has to be an array."""


@struct.dataclass
class Factors:
    """The gradient of one use of a matrix, in arrays or in their shapes.

    Attributes:
      values: `[batch, k]`.
      indices: `[batch, k]`, of latents; float32 on their way through autodiff, then int32.
      x: `[batch, d]`.
    """

    values: Any
    indices: Any
    x: Any


@struct.dataclass
class Sum:
    """The gradient of a matrix with a row for each of `count` latents: that of all its uses."""

    uses: tuple[Factors, ...]
    count: int = struct.field(pytree_node=False)

    def scaled(self, share: Float[Array, ""]) -> "Sum":
        """Returns `share` times it."""
        uses = [dataclasses.replace(use, values=share * use.values) for use in self.uses]
        return Sum(tuple(uses), self.count)

    def joined(self) -> "Sum":
        """Returns the sum over a first axis, that of parts of a batch."""
        return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), self)


@struct.dataclass
class Entries:
    """The entries of `Factors` by latent, zeros last.

    Attributes:
      latents: int32 `[entries]`, rising; `count` for a zero.
      values: `[entries]`.
      rows: int32 `[entries]`, of x.
      x: `[batch, d]`.
    """

    latents: Any
    values: Any
    rows: Any
    x: Any


@struct.dataclass
class Sorted:
    """A `Sum` that can be asked for the rows of some latents."""

    uses: tuple[Entries, ...]
    count: int = struct.field(pytree_node=False)


class _Uses:
    """The uses of matrices while a loss is traced, in their order."""

    def __init__(self, matrices: Mapping[str, Array], sinks: list[Factors] | None = None) -> None:
        self.matrices = matrices
        self.names: list[str] = []
        self.sinks: list[Factors] = [] if sinks is None else sinks
        self._given = sinks is not None

    def next(self, name: str, values: Any, x: Any) -> Factors:
        if not self._given:
            self.sinks.append(jax.tree.map(_zeros, Factors(values, values, x)))
        self.names.append(name)
        return self.sinks[len(self.names) - 1]


_USES: contextvars.ContextVar[_Uses | None] = contextvars.ContextVar("uses", default=None)


def value_and_grad(loss: Callable[..., Any], latents: Mapping[str, int]) -> Callable[..., Any]:
    """Returns `jax.value_and_grad(loss, has_aux=True)` with a `Sum` for each of some matrices.

    Args:
      loss: `(params, ...) -> (loss, more)`.
      latents: of matrices in the dict `params`, how many there are.

    Raises:
      OtherReaderError: by what is returned; a matrix has a gradient that is no sparse product's, or
        no sparse product reads it.
    """

    def run(params: Mapping[str, Any], *rest: Any) -> Any:
        matrices = {name: params[name] for name in latents}
        others = {name: param for name, param in params.items() if name not in latents}
        seen: list[_Uses] = []

        def of(matrices: Any, others: Any, sinks: list[Factors] | None) -> Any:
            matrices = {name: _barred(matrix) for name, matrix in matrices.items()}
            with _noted(_Uses(matrices, sinks)) as uses:
                seen.append(uses)
                return loss({**others, **matrices}, *rest)

        jax.eval_shape(lambda: of(matrices, others, None))
        if not set(latents) <= set(seen[0].names):
            raise OtherReaderError
        shapes = seen[0].sinks
        sinks = [
            Factors(*(jnp.zeros(s.shape, s.dtype) for s in jax.tree.leaves(f))) for f in shapes
        ]
        graded = jax.value_and_grad(of, argnums=(0, 1, 2), has_aux=True)
        found, (_, grads, factors) = graded(matrices, others, sinks)
        uses: dict[str, list[Factors]] = {name: [] for name in latents}
        for name, each in zip(seen[-1].names, factors, strict=True):
            indices = each.indices.astype(jnp.int32)
            uses[name].append(dataclasses.replace(each, indices=indices))
        sums = {name: Sum(tuple(uses[name]), count) for name, count in latents.items()}
        return found, {**grads, **sums}

    return run


@contextlib.contextmanager
def _noted(uses: _Uses) -> Iterator[_Uses]:
    token = _USES.set(uses)
    try:
        yield uses
    finally:
        _USES.reset(token)


def sink(matrix: Array, values: Any, x: Any) -> Factors | None:
    """Returns where the gradient of a use of `matrix` goes, or None: it is an array like others.

    Args:
      matrix: as the loss was given it.
      values: of the factors, or their shape and type.
      x: of the factors, or its shape and type.
    """
    uses = _USES.get()
    names = [] if uses is None else [n for n, known in uses.matrices.items() if known is matrix]
    return uses.next(names[0], values, x) if uses is not None and names else None


@jax.custom_vjp
def decoded(
    product: Float[Array, "batch d"],
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    sink: Factors,
) -> Float[Array, "batch d"]:
    """Returns `product`, `codes w_dec`; the gradient of `w_dec` goes to `sink`."""
    del values, indices, sink
    return product


def _decoded_forward(product: Array, values: Array, indices: Array, sink: Factors) -> tuple:
    del sink
    return product, (values, indices)


def _decoded_backward(residuals: tuple, g: Array) -> tuple:
    values, indices = residuals
    return g, None, None, Factors(values, indices.astype(values.dtype), g)


decoded.defvjp(_decoded_forward, _decoded_backward)


@jax.custom_vjp
def encoded(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    centred: Float[Array, "batch d"],
    sink: Factors,
) -> Float[Array, "batch k"]:
    """Returns `values`, which are `centred w_enc + b_enc` at `indices`, as `decoded` does."""
    del indices, centred, sink
    return values


def _encoded_forward(values: Array, indices: Array, centred: Array, sink: Factors) -> tuple:
    del sink
    return values, (indices, centred)


def _encoded_backward(residuals: tuple, g: Array) -> tuple:
    indices, centred = residuals
    return g, None, None, Factors(g, indices.astype(g.dtype), centred)


encoded.defvjp(_encoded_forward, _encoded_backward)


@jax.custom_vjp
def _barred(matrix: Array) -> Array:
    return matrix


def _barred_forward(matrix: Any) -> tuple[Array, None]:
    return matrix.value, None


def _barred_backward(residuals: None, g: Any) -> tuple[None]:
    del residuals
    if not isinstance(g, custom_derivatives.SymbolicZero):
        raise OtherReaderError
    return (None,)


_barred.defvjp(_barred_forward, _barred_backward, symbolic_zeros=True)


def sort(grad: Sum) -> Sorted:
    """Returns a gradient whose rows can be asked for."""
    return Sorted(tuple(_entries(use, grad.count) for use in grad.uses), grad.count)


def _entries(use: Factors, count: int) -> Entries:
    latents = jnp.where(use.values != 0, use.indices, count).reshape(-1)
    latents, order = lax.sort_key_val(latents, lax.iota(jnp.int32, latents.size))
    padding = (0, -latents.size % _AT_ONCE)
    latents = jnp.pad(latents, padding, constant_values=count)
    order = jnp.pad(order, padding)
    return Entries(latents, use.values.reshape(-1)[order], order // use.values.shape[1], use.x)


def rows(grad: Sorted, first: Int[Array, ""] | int, width: int) -> Float[Array, "width d"]:
    """Returns the gradient of `width` latents from `first` on, float32."""
    total = jnp.zeros((width, grad.uses[0].x.shape[1]), jnp.float32)
    for use in grad.uses:
        total = _added(use, jnp.asarray(first), total)
    return total


def _added(use: Entries, first: Array, total: Array) -> Array:
    """Returns `total` with the entries of its latents added, `_AT_ONCE` after the other."""
    edges = jnp.searchsorted(use.latents, jnp.stack([first, first + len(total)]))

    def add(number: Array, total: Array) -> Array:
        latents, values, rows = (
            lax.dynamic_slice_in_dim(each, number * _AT_ONCE, _AT_ONCE)
            for each in (use.latents, use.values, use.rows)
        )
        # The first and the last may reach into what is of other latents.
        own = (latents >= first) & (latents < first + len(total))
        places = jnp.clip(latents - first, 0, len(total) - 1)
        moves = (values * own)[:, None] * use.x[rows]
        return total.at[places].add(moves, indices_are_sorted=True)

    return lax.fori_loop(edges[0] // _AT_ONCE, -(-edges[1] // _AT_ONCE), add, total)


def square(grad: Sorted, width: int) -> Float[Array, ""]:
    """Returns the sum of the squares of a gradient, `width` latents after the other."""

    def add(number: Array, total: Array) -> Array:
        # The last block reaches beyond the last latent, where there is nothing.
        return total + (rows(grad, number * width, width) ** 2).sum()

    return lax.fori_loop(0, -(-grad.count // width), add, jnp.zeros((), jnp.float32))


def _zeros(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
