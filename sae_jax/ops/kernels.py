"""Sparse codes on NVIDIA GPUs, where XLA walks k times over a batch: one pass of a kernel each.

  encode    x w + b, and the largest of each group of neighbours, found before it is written: a
            top-k begins with them and reads only the groups that they choose
  decode    sum_j values[b, j] rows[indices[b, j]]: a row of the batch stays in registers
  products  g[b] . rows[indices[b, j]]
  scatter   start, plus values[b, j] x[b] in row indices[b, j]: entries are sorted by latent, and
            each latent adds its own in their order, so that a step is the same bits at any time

They are written in Pallas for Triton (newer versions of jax warn that they will drop that way).
`sae_jax/ops/sparse.py` and, of the first, `blocked.py` say which sums they are, have the forms
without them, and take these on GPUs where `$SAE_JAX_KERNELS` is "pallas".
"""

from collections.abc import Callable

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_LEAST, _MOST = 64, 512  # Columns that one program of a kernel holds, a power of two.
_ROWS, _COLUMNS, _INNER = 64, 128, 32  # Of a product that one program holds, and of what it adds.


def fit(columns: int) -> bool:
    """Returns whether matrices of so many columns can be cut into blocks that are worth it."""
    return _block(columns) >= _LEAST


def fits(rows: int, inner: int, columns: int, group: int) -> bool:
    """Returns whether `encode` can cut a product of these sizes, and groups of this one."""
    sizes = ((rows, _ROWS), (inner, _INNER), (columns, _COLUMNS), (_COLUMNS, group))
    return not any(size % part for size, part in sizes)


def encode(
    x: Float[Array, "rows inner"],
    w: Float[Array, "inner columns"],
    b: Float[Array, " columns"],
    by: Float[Array, " columns"],
    plus: Float[Array, " columns"],
    of: Callable[[Array], Array],
    group: int,
    interpret: bool = False,
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows groups"]]:
    """Returns `pre = x w + b` and the largest `of(pre by) + plus` of each group, float32.

    Args:
      x: in float32 or bfloat16; sums are float32.
      w: of the same type.
      b: float32.
      by: what columns are multiplied by before they are compared.
      plus: what is added to what is compared, 0 or minus infinity.
      of: elementwise.
      group: neighbours that make a group, a power of two.
      interpret: for any device.
    """
    (rows, inner), columns = x.shape, w.shape[1]

    def kernel(x, w, b, by, plus, out, largest):
        def add(part: Array, total: Array) -> Array:
            some = pl.ds(part * _INNER, _INNER)
            return total + triton.dot(x[:, some], w[some, :], allow_tf32=False)

        total = jnp.zeros((_ROWS, _COLUMNS), jnp.float32)
        total = lax.fori_loop(0, inner // _INNER, add, total) + b[...][None]
        out[...] = total
        compared = of(total * by[...][None]) + plus[...][None]
        largest[...] = compared.reshape(_ROWS, _COLUMNS // group, group).max(axis=2)

    column = pl.BlockSpec((_COLUMNS,), lambda row, column: (column,))
    return pl.pallas_call(
        kernel,
        (
            jax.ShapeDtypeStruct((rows, columns), jnp.float32),
            jax.ShapeDtypeStruct((rows, columns // group), jnp.float32),
        ),
        grid=(rows // _ROWS, columns // _COLUMNS),
        in_specs=[
            pl.BlockSpec((_ROWS, inner), lambda row, column: (row, 0)),
            pl.BlockSpec((inner, _COLUMNS), lambda row, column: (0, column)),
            *(column, column, column),
        ],
        out_specs=(
            pl.BlockSpec((_ROWS, _COLUMNS), lambda row, column: (row, column)),
            pl.BlockSpec((_ROWS, _COLUMNS // group), lambda row, column: (row, column)),
        ),
        **_how(interpret),
    )(x, w, b, by, plus)


def decode(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    rows: Float[Array, "latents d"],
    interpret: bool = False,
) -> Float[Array, "batch d"]:
    """Returns `sum_j values[:, j] rows[indices[:, j]]`; with `interpret` on any device."""
    (batch, k), (latents, d) = values.shape, rows.shape
    block = _block(d)

    def kernel(values, indices, rows, out):
        def add(slot: Array, total: Array) -> Array:
            return total + values[slot] * rows[indices[slot], :].astype(jnp.float32)

        out[...] = lax.fori_loop(0, k, add, jnp.zeros(block, jnp.float32))

    slots = pl.BlockSpec((None, k), lambda row, column: (row, 0))
    return pl.pallas_call(
        kernel,
        jax.ShapeDtypeStruct((batch, d), jnp.float32),
        grid=(batch, d // block),
        in_specs=[slots, slots, pl.BlockSpec((latents, block), lambda row, column: (0, column))],
        out_specs=pl.BlockSpec((None, block), lambda row, column: (row, column)),
        **_how(interpret),
    )(values, indices, rows)


def products(
    g: Float[Array, "batch d"],
    indices: Int[Array, "batch k"],
    rows: Float[Array, "latents d"],
    interpret: bool = False,
) -> Float[Array, "batch k"]:
    """Returns `g[b] . rows[indices[b, j]]`, float32."""
    (batch, k), (latents, d) = indices.shape, rows.shape
    block = _block(d)

    def kernel(g, indices, rows, out):
        latent = indices[pl.program_id(1)]

        def add(part: Array, total: Array) -> Array:
            columns = pl.ds(part * block, block)
            return total + g[columns] * rows[latent, columns].astype(jnp.float32)

        total = lax.fori_loop(0, d // block, add, jnp.zeros(block, jnp.float32))
        out[pl.program_id(1)] = total.sum()

    slots = pl.BlockSpec((None, k), lambda row, slot: (row, 0))
    return pl.pallas_call(
        kernel,
        jax.ShapeDtypeStruct((batch, k), jnp.float32),
        grid=(batch, k),
        in_specs=[
            pl.BlockSpec((None, d), lambda row, slot: (row, 0)),
            slots,
            pl.BlockSpec((latents, d), lambda row, slot: (0, 0)),
        ],
        out_specs=slots,
        **_how(interpret),
    )(g, indices, rows)


def scatter(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    x: Float[Array, "batch d"],
    start: Float[Array, "latents d"],
    interpret: bool = False,
) -> Float[Array, "latents d"]:
    """Returns `start` plus, in row i, `values[b, j] x[b]` where `indices` has i."""
    (batch, k), (latents, d) = values.shape, start.shape
    block = _block(d)
    # Zeros count as of one latent more, and so come last.
    latent = jnp.where(values != 0, indices, latents).reshape(-1)
    entries = lax.iota(jnp.int32, batch * k)
    latent, entries = lax.sort((latent, entries), num_keys=1, is_stable=True)
    ends = jnp.searchsorted(latent, jnp.arange(latents + 1, dtype=latent.dtype))

    def kernel(ends, entries, values, x, start, out):
        latent = pl.program_id(0)

        def add(place: Array, total: Array) -> Array:
            entry = entries[place]
            return total + values[entry] * x[entry // k, :]

        out[...] = lax.fori_loop(ends[latent], ends[latent + 1], add, start[...])

    whole = (ends, entries, values.reshape(-1))
    row = pl.BlockSpec((None, block), lambda latent, column: (latent, column))
    return pl.pallas_call(
        kernel,
        jax.ShapeDtypeStruct(start.shape, start.dtype),
        grid=(latents, d // block),
        in_specs=[
            *(pl.BlockSpec(array.shape, lambda latent, column: (0,)) for array in whole),
            pl.BlockSpec((batch, block), lambda latent, column: (0, column)),
            row,
        ],
        out_specs=row,
        input_output_aliases={4: 0},
        **_how(interpret),
    )(*whole, x, start)


def _block(columns: int) -> int:
    """Returns how many columns a program holds: a power of two that divides them."""
    return min(columns & -columns, _MOST)


def _how(interpret: bool) -> dict:
    if interpret:
        return {"interpret": True}
    return {"compiler_params": triton.CompilerParams(num_warps=4)}
