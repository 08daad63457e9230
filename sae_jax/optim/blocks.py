"""An optimiser's step a block of latents at a time, so that it writes down no whole matrix.

A step reads gradients, moments and parameters and writes the latter two. Taken at once, a compiler
keeps whole matrices in between: moments in float32 before they are made smaller, updates before
and after a constraint. Where each latent is moved by what is known of it alone, blocks of latents
can be moved one after the other, each in its place, and what is in between is as small as a block.

Nor does it need whole gradients then: of matrices of a gigabyte and more it takes the factors that
they are sums of (`sae_jax/ops/factors.py`), and makes that of a block when it moves it.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple, TypeGuard

import jax
from jax import lax
from jax.experimental import layout
import jax.numpy as jnp
import optax

from sae_jax.ops import factors, rounding

PyTree = Any

_LARGE = 2**29  # Bytes of a matrix from which on it is moved in blocks.
_BLOCK = 2**24  # Bytes of a block of it.
_FACTORED = 2**30  # Bytes of a gradient, in float32, from which on it is kept as factors.


class Separable(NamedTuple):
    """An optimiser that moves each latent apart from the others, but for the gradient's norm.

    Attributes:
      init: as of any optimiser.
      update: as of any optimiser; of all latents at once.
      each: `update` of some latents, with gradients that are clipped already.
      clip_norm: the largest norm of the whole gradient; 0 for any.
    """

    init: Callable[..., Any]
    update: Callable[..., Any]
    each: Callable[..., Any]
    clip_norm: float


def factored(
    optimizer: optax.GradientTransformation | Separable,
    params: PyTree,
    latent_axes: Mapping[str, int],
) -> dict[str, int]:
    """Returns of which matrices `moved` takes gradients as factors, and how many latents they have.

    Args:
      optimizer: what moves them.
      params: before the step.
      latent_axes: as `moved` takes them.
    """
    if not _in_blocks(optimizer, params, latent_axes):
        return {}
    latents = _sizes(params, latent_axes).pop()
    if latents > factors.MOST:
        return {}
    named = [(name, params[name]) for name in latent_axes if name in params]
    return {n: latents for n, leaf in named if leaf.ndim == 2 and 4 * leaf.size >= _FACTORED}


def moved(
    optimizer: optax.GradientTransformation | Separable,
    grads: PyTree,
    norm: jax.Array,
    opt_state: PyTree,
    params: PyTree,
    latent_axes: Mapping[str, int],
) -> tuple[PyTree, PyTree]:
    """Returns parameters and the optimiser's state after a step.

    Args:
      optimizer: what moves them; in blocks only if it is `Separable` and there is a large matrix.
      grads: of the loss, as `written`.
      norm: of all of them.
      opt_state: before the step.
      params: before the step.
      latent_axes: the axis of each parameter that counts latents; empty: all at once, as it must be
        where devices have parts of them.
    """
    if not _in_blocks(optimizer, params, latent_axes):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state
    latents = _sizes(params, latent_axes).pop()
    width = _width(latents, latents * _BLOCK // _bytes(params))
    cut = functools.partial(_cut, latent_axes, latents, (params, opt_state))
    put = functools.partial(_put, latent_axes, latents)
    factor = _factor(optimizer.clip_norm, norm)
    rows = _rows(grads, latent_axes)

    def new(old: PyTree, first: Any, width: int) -> PyTree:
        g = _cut(dict.fromkeys(latent_axes, 0), latents, rows, rows, first, width)
        g = _by_rows(_rows(g, latent_axes, back=True))
        g = jax.tree.map(lambda leaf: leaf * factor, g)
        updates, opt_state = optimizer.each(g, old[1], old[0])
        return optax.apply_updates(old[0], updates), opt_state

    def move(number: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        now, old = carry
        now = put(now, new(old, number * width, width), number * width)
        # Read after this block was written: else a compiler copies whole matrices to be safe.
        return now, cut(now, (number + 1) * width, width)

    begin = (params, opt_state)
    whole, rest = divmod(latents, width)
    now, _ = lax.fori_loop(0, whole, move, (begin, cut(begin, 0, width)))
    first = whole * width
    return put(now, new(cut(now, first, rest), first, rest), first) if rest else now


def clip(most: float) -> optax.GradientTransformation:
    """Scales gradients down until the norm of all of them is `most`; 0 for any norm.

    `optax.clip_by_global_norm` divides each number by the norm, which costs a pass over them.
    """

    def update(grads: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        del params
        if not most:
            return grads, state
        factor = _factor(most, optax.tree.norm(grads))
        return jax.tree.map(lambda g: g * factor, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def written(grads: PyTree, latent_axes: Mapping[str, int]) -> PyTree:
    """Returns gradients as `norm` and `moved` read them fastest: by rows, unless in blocks."""
    grads = jax.tree.map(
        lambda leaf: factors.sort(leaf) if _is_sum(leaf) else leaf, grads, is_leaf=_is_sum
    )
    if any(map(_is_sorted, jax.tree.leaves(grads, is_leaf=_is_sorted))):
        return grads
    return grads if not latent_axes or _large(grads) else _by_rows(grads)


def norm(grads: PyTree, latent_axes: Mapping[str, int]) -> jax.Array:
    """Returns the norm of a whole gradient, `[]`, summed in float32."""
    leaves = jax.tree.leaves(grads, is_leaf=_is_sorted)
    if any(map(_is_sorted, leaves)):
        return jnp.sqrt(sum(_square(leaf) for leaf in leaves))
    grads = _rows(grads, latent_axes) if _large(grads) else grads
    return optax.tree.norm(jax.tree.map(rounding.widened, grads))


def _rows(grads: PyTree, axes: Mapping[str, int], back: bool = False) -> PyTree:
    """Returns gradients with their latents along the first axis, or `back` as they were.

    As sparse codes give them: turned round as a whole there would be two of each.
    """

    def of(path: tuple, leaf: Any) -> Any:
        axis = axes.get(_name(path), 0)
        if _is_sorted(leaf):
            return leaf
        return jnp.moveaxis(leaf, 0, axis) if back else jnp.moveaxis(leaf, axis, 0)

    return jax.tree_util.tree_map_with_path(of, grads, is_leaf=_is_sorted)


def _by_rows(grads: PyTree) -> PyTree:
    """Returns gradients, matrices written down row by row.

    Sparse codes give that of `w_enc` column by column, and each pass over it would read it so.
    """
    order = layout.Layout(major_to_minor=(0, 1))
    return jax.tree.map(
        lambda leaf: layout.with_layout_constraint(leaf, order) if leaf.ndim == 2 else leaf, grads
    )


def _width(latents: int, most: int) -> int:
    """Returns how many latents are in a block: if possible a number that leaves no rest."""
    most = max(1, min(most, latents))
    return next((w for w in range(most, most // 2, -1) if latents % w == 0), most)


def _cut(
    axes: Mapping[str, int], latents: int, others: PyTree, tree: PyTree, first: Any, width: int
) -> PyTree:
    """Returns a tree of some of its latents; what is of none is taken from `others`.

    So each block is given that as it was before the step, and each makes the same of it.
    """

    def of(path: tuple, leaf: Any, other: Any) -> jax.Array:
        if isinstance(leaf, factors.Sorted):
            return factors.rows(leaf, first, width)
        axis = _axis(axes, latents, path, leaf)
        return other if axis is None else lax.dynamic_slice_in_dim(leaf, first, width, axis)

    return jax.tree_util.tree_map_with_path(of, tree, others, is_leaf=_is_sorted)


def _put(axes: Mapping[str, int], latents: int, tree: PyTree, part: PyTree, first: Any) -> PyTree:
    """Returns a tree with other numbers for some of its latents, and for what is of none."""

    def of(path: tuple, leaf: jax.Array, new: jax.Array) -> jax.Array:
        axis = _axis(axes, latents, path, leaf)
        return new if axis is None else lax.dynamic_update_slice_in_dim(leaf, new, first, axis)

    return jax.tree_util.tree_map_with_path(of, tree, part)


def _axis(axes: Mapping[str, int], latents: int, path: tuple, leaf: jax.Array) -> int | None:
    axis = axes.get(_name(path))
    return axis if axis is not None and axis < leaf.ndim and leaf.shape[axis] == latents else None


def _name(path: tuple) -> str:
    """Returns the last dict key on a path; "" if there is none."""
    keys = (getattr(entry, "key", None) for entry in reversed(path))
    return next((key for key in keys if isinstance(key, str)), "")


def _in_blocks(
    optimizer: optax.GradientTransformation | Separable,
    params: PyTree,
    latent_axes: Mapping[str, int],
) -> TypeGuard[Separable]:
    """Returns whether latents are moved block by block."""
    return (
        isinstance(optimizer, Separable)
        and len(_sizes(params, latent_axes)) == 1
        and _large(params)
    )


def _sizes(params: PyTree, axes: Mapping[str, int]) -> set[int]:
    """Returns how many latents there are in each parameter that counts them."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    named = [(axes.get(_name(path)), leaf) for path, leaf in leaves]
    return {leaf.shape[axis] for axis, leaf in named if axis is not None}


def _is_sum(leaf: Any) -> bool:
    return isinstance(leaf, factors.Sum)


def _is_sorted(leaf: Any) -> bool:
    return isinstance(leaf, factors.Sorted)


def _square(leaf: Any) -> jax.Array:
    """Returns the sum of the squares of a gradient, in whichever form, `[]`."""
    if not _is_sorted(leaf):
        return (rounding.widened(leaf) ** 2).sum()
    return factors.square(leaf, _width(leaf.count, _BLOCK // (4 * leaf.uses[0].x.shape[1])))


def _large(params: PyTree) -> bool:
    return _bytes(params) > _LARGE


def _bytes(params: PyTree) -> int:
    """Returns the bytes of the largest parameter."""
    return max(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))


def _factor(most: float, norm: jax.Array) -> jax.Array:
    """Returns what a gradient is multiplied by so that its norm is `most` at most; 0 is any."""
    return jnp.minimum(1.0, most / norm) if most else jnp.ones(())
