"""Codes of which few latents can be active: taken, decoded and differentiated without the others.

A dense training step multiplies five matrices of batch x d_in x d_sae; with `Codes` only the first
of them is left, and everything else costs batch x k x d_in. The rules below send a gradient from
k values to the k rows it belongs to and form no `[batch, d_sae]` array for it; each is the plain
formula's own derivative.

Latents are walked through one by one, `k` times a whole batch: at each, rows are gathered or added
to in place, where one operation for all would first write `[batch, k, d_in]` into memory.

Over several devices each one adds what its own latents do, and `[batch, d_in]` or `[batch, k]` is
summed over those that share a dictionary; the gradient of weights stays where the weights are.
"""

import dataclasses
import os
from types import ModuleType
from typing import Any

import jax
from jax import custom_derivatives, lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sae_jax import errors, types
from sae_jax.ops import factors, linear, nonzero, per_member, sharded
from sae_jax.ops.sharded import BOTH, LATENTS, ROWS

_DENSE_FOR_ONE = 32  # So many latents of a dense code cost what one of a sparse code does.
_AT_ONCE = 256  # Rows that are added to a matrix at once: what a core's cache holds.


def pays(k: int | float | per_member.PerMember, d_sae: int) -> bool:
    """Returns whether the sparse form of k of `d_sae` latents is the faster one.

    On two CPU cores, with d_in from 100 to 784 and d_sae from 512 to 4,096, both forms of a
    training step take as long at k = d_sae / 32; at d_sae / 100 the sparse one is twice as fast.
    """
    return k * _DENSE_FOR_ONE <= d_sae


def dense(codes: Array | types.Codes) -> Float[Array, "batch d_sae"]:
    """Returns codes with all their zeros; dense ones as they are."""
    if not isinstance(codes, types.Codes):
        return codes
    split = sharded.split(*codes.shape)
    count = split.part(codes.width)

    def place(values: Array, indices: Array) -> Array:
        values, indices = split.own(values, indices, count)
        rows = jnp.arange(values.shape[0])[:, None]
        empty = jnp.zeros((values.shape[0], count), values.dtype)
        return empty.at[rows, indices].add(values)

    return split.over(place, (ROWS, ROWS), BOTH)(codes.values, codes.indices)


def all_of(pre: Array | types.Pre) -> Float[Array, "batch d_sae"]:
    """Returns pre-activations as an array, with the gradient of the matrix product.

    Raises:
      NotAtOnceError: latents are encoded in blocks, so that there is no such array.
    """
    if not isinstance(pre, types.Pre):
        return pre
    if pre.dense is None:
        raise errors.NotAtOnceError(
            f"it needs all pre-activations at once, and latents are encoded in {pre.blocks} blocks:"
            " set config.model.blocks=1, or leave it out"
        )
    return pre.dense


def compared(output: types.Output) -> Float[Array, "batch d_sae"]:
    """Returns pre-activations as the activation compares them with each other or a threshold.

    With their signs: AbsTopK compares the sizes of these.
    """
    everything = all_of(output.pre)
    if "compared" not in output.extras:
        return everything
    return everything * lax.stop_gradient(output.extras["compared"])[None]


def values(codes: Array | types.Codes) -> Float[Array, "batch some"]:
    """Returns what may be other than 0, for sums over the latents of each example."""
    return codes.values if isinstance(codes, types.Codes) else codes


def of_latents(
    codes: Array | types.Codes, numbers: Float[Array, " d_sae"]
) -> Float[Array, "rows some"]:
    """Returns a number of each latent where `values` has its code."""
    return numbers[codes.indices] if isinstance(codes, types.Codes) else numbers[None]


def active(codes: Array | types.Codes) -> Float[Array, " batch"]:
    """Returns how many latents are active, `!= 0`, in each example."""
    found = values(codes)
    if found.ndim == 2:
        return nonzero.in_rows(found)
    return (found != 0).sum(axis=-1).astype(jnp.float32)


def ever_active(codes: Array | types.Codes, mask: Float[Array, " batch"]) -> Float[Array, " d_sae"]:
    """Returns 1 for each latent that is active in an example that is no padding, or 0."""
    if not isinstance(codes, types.Codes):
        return ((codes != 0) & (mask > 0)[:, None]).any(axis=0).astype(jnp.float32)
    hit = ((codes.values != 0) & (mask > 0)[:, None]).astype(jnp.float32)
    split = sharded.split(*codes.shape)
    count = split.part(codes.width)

    def mark(hit: Array, indices: Array) -> Array:
        hit, indices = split.own(hit, indices, count)
        return split.max(jnp.zeros(count).at[indices].max(hit), ROWS)

    return split.over(mark, (ROWS, ROWS), LATENTS)(hit, codes.indices)


def product(
    codes: Array | types.Codes,
    w_dec: Float[Array, "d_sae d"],
    compute: linear.Compute = "float32",
) -> Float[Array, "batch d"]:
    """Returns `codes w_dec`.

    Args:
      codes: in either form.
      w_dec: the decoder's rows.
      compute: the type to which the operands of a dense product are rounded.
    """
    return product_and_pass(codes, w_dec, compute)[0]


def product_and_pass(
    codes: Array | types.Codes,
    w_dec: Float[Array, "d_sae d"],
    compute: linear.Compute = "float32",
) -> tuple[Float[Array, "batch d"], Float[Array, "d_sae d"]]:
    """Returns what `product` does, and `w_dec` passed on as `decode_and_pass` does."""
    if isinstance(codes, types.Codes):
        shape = jax.ShapeDtypeStruct((len(codes.values), w_dec.shape[1]), codes.values.dtype)
        sink = factors.sink(w_dec, codes.values, shape)
        if sink is not None:
            return decode_into(codes.values, codes.indices, w_dec, sink), w_dec
        return decode_and_pass(codes.values, codes.indices, w_dec)
    return linear.decode(codes, w_dec, compute) if compute != "float32" else codes @ w_dec, w_dec


def decode(
    values: Float[Array, "batch k"], indices: Int[Array, "batch k"], w_dec: Float[Array, "d_sae d"]
) -> Float[Array, "batch d"]:
    """Returns `sum_j values[:, j] w_dec[indices[:, j]]`, the product of dense codes and `w_dec`.

    Values of 0 are no active latents: slots j where all examples have 0 cost nothing, and no
    gradient reaches their values.
    """
    return decode_and_pass(values, indices, w_dec)[0]


def decode_into(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    w_dec: Float[Array, "d_sae d"],
    sink: factors.Factors,
) -> Float[Array, "batch d"]:
    """Returns what `decode` does; the gradient of `w_dec` goes to `sink`."""
    product = decode(values, indices, lax.stop_gradient(w_dec))
    return factors.decoded(product, values, indices, sink)


@jax.custom_vjp
def decode_and_pass(
    values: Float[Array, "batch k"], indices: Int[Array, "batch k"], w_dec: Float[Array, "d_sae d"]
) -> tuple[Float[Array, "batch d"], Float[Array, "d_sae d"]]:
    """Returns what `decode` does, and `w_dec` as it is, for what else reads it in the same step.

    The gradient of that is then what this one's is added to, row by row and in its place. Summed
    by autodiff each would be a matrix of its own first.
    """
    split = sharded.split(len(values), len(w_dec))

    def own(values: Array, indices: Array, w_dec: Array) -> Array:
        values, indices = split.own(values, indices, len(w_dec))
        return split.sum(_decoded(values, indices, w_dec), LATENTS)

    return split.over(own, (ROWS, ROWS, LATENTS), ROWS)(values, indices, w_dec), w_dec


def _decoded(values: Array, indices: Array, w_dec: Array) -> Array:
    """Returns what `decode` does, of the latents of one device."""
    if kernels := kernels_for(w_dec.shape[1]):
        forms = dict(cuda=kernels.decode, default=_decoded_by_slot)
        return lax.platform_dependent(values, indices, w_dec, **forms)
    return _decoded_by_slot(values, indices, w_dec)


def _decoded_by_slot(values: Array, indices: Array, w_dec: Array) -> Array:
    values, indices = values.T, indices.T

    def add(slot: Array, total: Array) -> Array:
        return total + values[slot][:, None] * w_dec[indices[slot]]

    start = jnp.zeros((values.shape[1], w_dec.shape[1]), jnp.result_type(values, w_dec))
    return lax.fori_loop(0, _used(values), add, start)


def _decode_forward(*given: Any) -> tuple[tuple[Array, Array], tuple]:
    values, indices, w_dec = (each.value for each in given)
    return decode_and_pass(values, indices, w_dec), (values, indices, w_dec)


def _decode_backward(residuals: tuple, slopes: tuple) -> tuple[Array, None, Array]:
    values, indices, w_dec = residuals
    g, slope = (_dense(slope, values) for slope in slopes)
    slope = _all_scattered(values, indices, g, slope)
    return _all_products(g, values, indices, w_dec), None, slope.astype(w_dec.dtype)


decode_and_pass.defvjp(_decode_forward, _decode_backward, symbolic_zeros=True)


def _dense(slope: Any, other: Array) -> Array:
    """Returns a gradient in the type of `other`, zeros where there is none.

    Zeros that a compiler does not know to be zeros, as it would make one array of them and copy
    that for each of those that add to it: a number of some other array, kept between 0 and 0.
    """
    if not isinstance(slope, custom_derivatives.SymbolicZero):
        return slope.astype(other.dtype)
    return jnp.broadcast_to(lax.clamp(0.0, other[0, 0], 0.0), slope.shape)


@jax.custom_vjp
def prefix_error(
    left: Float[Array, "batch d"],
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    w_dec: Float[Array, "d_sae d"],
) -> Float[Array, " batch"]:
    """Returns the mean over j, from 1 to k, of `||left - sum_{i <= j} values_i w_dec_i||^2`.

    One decoding serves all j, and a backward pass undoes it instead of remembering each. Devices
    that share a dictionary sum `[batch, d]` at each of the k steps.

    Args:
      left: what no latent has explained yet.
      values: codes in the order in which they are added.
      indices: which latents they are.
      w_dec: the decoder's rows.
    """
    return _prefix_error_forward(left, values, indices, w_dec)[0]


def _prefix_error_forward(
    left: Array, values: Array, indices: Array, w_dec: Array
) -> tuple[Array, tuple]:
    split = sharded.split(len(values), len(w_dec))

    def own(left: Array, values: Array, indices: Array, w_dec: Array) -> tuple[Array, Array]:
        def add(carry: tuple, latent: tuple[Array, Array]) -> tuple[tuple, None]:
            (left, total), (value, index) = carry, latent
            left = left - split.sum(value[:, None] * w_dec[index], LATENTS)
            return (left, total + (left**2).sum(axis=1)), None

        start = (left, jnp.zeros(len(left), left.dtype))
        latents = split.own(values, indices, len(w_dec))
        return lax.scan(add, start, jax.tree.map(jnp.transpose, latents))[0]

    takes, gives = (ROWS, ROWS, ROWS, LATENTS), [ROWS, ROWS]
    left, total = split.over(own, takes, gives)(left, values, indices, w_dec)
    return total / values.shape[1], (left, values, indices, w_dec)


def _prefix_error_backward(residuals: tuple, g: Array) -> tuple:
    left, values, indices, w_dec = residuals
    split = sharded.split(len(values), len(w_dec))

    def own(left: Array, values: Array, indices: Array, w_dec: Array, scale: Array) -> tuple:
        def undo(carry: tuple, latent: tuple[Array, Array, Array]) -> tuple[tuple, Array]:
            (left, later, slope), (value, weight, index) = carry, latent
            rows = w_dec[index] * weight[:, None]
            later = later + scale * left  # Of this prefix and of all that are longer.
            slope = slope.at[index].add(-(value * weight)[:, None] * later)
            left = left + split.sum(value[:, None] * rows, LATENTS)
            return (left, later, slope), -(later * rows).sum(axis=1)

        weights, places = split.own(jnp.ones_like(values), indices, len(w_dec))
        start = (left, jnp.zeros_like(left), jnp.zeros(w_dec.shape, left.dtype))
        latents = (values.T, weights.T, places.T)
        (_, later, slope), to_values = lax.scan(undo, start, latents, reverse=True)
        return later, split.sum(to_values.T, LATENTS), split.sum(slope, ROWS)

    takes, gives = (ROWS, ROWS, ROWS, LATENTS, ROWS), [ROWS, ROWS, LATENTS]
    scale = (2 * g / values.shape[1])[:, None]
    later, to_values, slope = split.over(own, takes, gives)(left, values, indices, w_dec, scale)
    return later, to_values, None, slope.astype(w_dec.dtype)


prefix_error.defvjp(_prefix_error_forward, _prefix_error_backward)


def take(pre: Array | types.Pre, indices: Int[Array, "batch k"]) -> Float[Array, "batch k"]:
    """Returns the pre-activations at `indices`, whose gradient reaches only their own weights."""
    return take_and_pass(pre, indices)[0]


def take_and_pass(
    pre: Array | types.Pre, indices: Int[Array, "batch k"]
) -> tuple[Float[Array, "batch k"], Array | types.Pre]:
    """Returns what `take` does, and `pre` with its weights passed on, as `known_and_pass` does."""
    if not isinstance(pre, types.Pre):
        return _at(pre, indices), pre
    values = _at(lax.stop_gradient(all_of(pre)), indices)
    return pass_on(pre, values, indices)


def pass_on(
    pre: types.Pre, values: Float[Array, "batch k"], indices: Int[Array, "batch k"]
) -> tuple[Float[Array, "batch k"], types.Pre]:
    """Returns `values` of `pre` at `indices` with their gradient, and `pre` with weights passed on.

    Args:
      pre: pre-activations.
      values: what they are there, without a gradient.
      indices: where.
    """
    sink = factors.sink(pre.w_enc, values, pre.x)
    if sink is not None:
        return known_into(values, indices, pre.x, pre.centre, pre.w_enc, pre.b_enc, sink), pre
    values, w_enc = known_and_pass(values, indices, pre.x, pre.centre, pre.w_enc, pre.b_enc)
    return values, dataclasses.replace(pre, w_enc=w_enc)


def _at(pre: Array, indices: Array) -> Array:
    """Returns the entries of each row at `indices`, `[batch, k]`."""
    split = sharded.split(*pre.shape)

    def own(pre: Array, indices: Array) -> Array:
        found = jnp.take_along_axis(pre, split.places(indices, pre.shape[1]), axis=1)
        return split.sum(split.own(found, indices, pre.shape[1])[0], LATENTS)

    return split.over(own, (BOTH, ROWS), ROWS)(pre, indices)


def known(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
) -> Float[Array, "batch k"]:
    """Returns `values`, which are `(x_b - centre) w_enc[:, i] + b_enc[i]` at `indices` already.

    The gradient is that of this formula; none reaches `values`.
    """
    return known_and_pass(values, indices, x, centre, w_enc, b_enc)[0]


def known_into(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
    sink: factors.Factors,
) -> Float[Array, "batch k"]:
    """Returns what `known` does; the gradient of `w_enc` goes to `sink`."""
    values = known(values, indices, x, centre, lax.stop_gradient(w_enc), b_enc)
    return factors.encoded(values, indices, x - centre[None], sink)


@jax.custom_vjp
def known_and_pass(
    values: Float[Array, "batch k"],
    indices: Int[Array, "batch k"],
    x: Float[Array, "batch d_in"],
    centre: Float[Array, " d_in"],
    w_enc: Float[Array, "d_in d_sae"],
    b_enc: Float[Array, " d_sae"],
) -> tuple[Float[Array, "batch k"], Float[Array, "d_in d_sae"]]:
    """Returns what `known` does, and `w_enc` as it is, as `decode_and_pass` does with `w_dec`."""
    del indices, x, centre, b_enc
    return values, w_enc


def _known_forward(*given: Any) -> tuple[tuple[Array, Array], tuple]:
    values, indices, x, centre, w_enc, _ = (each.value for each in given)
    return (values, w_enc), (indices, x - centre[None], w_enc)


def _known_backward(residuals: tuple, slopes: tuple) -> tuple:
    indices, centred, w_enc = residuals
    g, slope = (_dense(slope, centred) for slope in slopes)
    total = by_latent(g, indices, w_enc.shape[1])
    by_row = decode(g, indices, w_enc.T)  # Of x: left out by the compiler, as nobody asks for it.
    slope = _all_scattered(g, indices, centred, slope.T).T.astype(w_enc.dtype)
    return jnp.zeros_like(g), None, by_row, -linear.weighted_sum(w_enc, total), slope, total


known_and_pass.defvjp(_known_forward, _known_backward, symbolic_zeros=True)


def by_latent(g: Array, indices: Array, count: int) -> Array:
    """Returns `[count]`, the sum of `g` over the batch for each latent."""
    split = sharded.split(len(g), count)

    def own(g: Array, indices: Array) -> Array:
        g, indices = split.own(g, indices, split.part(count))
        return split.sum(jnp.zeros(split.part(count), g.dtype).at[indices].add(g), ROWS)

    return split.over(own, (ROWS, ROWS), LATENTS)(g, indices)


def _all_products(g: Array, values: Array, indices: Array, rows: Array) -> Array:
    """Returns what `products` does, of all devices."""
    split = sharded.split(len(g), len(rows))

    def own(g: Array, values: Array, indices: Array, rows: Array) -> Array:
        found = products(g, values, split.places(indices, len(rows)), rows)
        return split.sum(split.own(found, indices, len(rows))[0], LATENTS)

    return split.over(own, (ROWS, ROWS, ROWS, LATENTS), ROWS)(g, values, indices, rows)


def _all_scattered(values: Array, indices: Array, x: Array, start: Array) -> Array:
    """Returns what `scatter` does, of all devices."""
    split = sharded.split(len(values), len(start))

    def own(values: Array, indices: Array, x: Array, start: Array) -> Array:
        values, indices = split.own(values, indices, len(start))
        if not split.splits("data"):
            return scatter(values, indices, x, start)
        return start + split.sum(scatter(values, indices, x, jnp.zeros_like(start)), ROWS)

    return split.over(own, (ROWS, ROWS, ROWS, LATENTS), LATENTS)(values, indices, x, start)


def products(g: Array, values: Array, indices: Array, rows: Array) -> Array:
    """Returns `g[b] . rows[indices[b, j]]`, `[batch, k]`, for the slots that are in use."""
    if kernels := kernels_for(rows.shape[1]):

        def by_kernel(g: Array, values: Array, indices: Array, rows: Array) -> Array:
            used = jnp.arange(values.shape[1]) < _used(values.T)
            return kernels.products(g, indices, rows) * used[None]

        forms = dict(cuda=by_kernel, default=_products_by_slot)
        return lax.platform_dependent(g, values, indices, rows, **forms)
    return _products_by_slot(g, values, indices, rows)


def _products_by_slot(g: Array, values: Array, indices: Array, rows: Array) -> Array:
    indices = indices.T

    def add(slot: Array, found: Array) -> Array:
        return found.at[slot].set((g * rows[indices[slot]]).sum(axis=-1))

    return lax.fori_loop(0, _used(values.T), add, jnp.zeros(indices.shape, g.dtype)).T


def _used(values: Array) -> Array:
    """Returns how many slots `[k, batch]` are in use: after so many all are 0."""
    slots = jnp.arange(1, len(values) + 1, dtype=jnp.int32)
    return jnp.where((values != 0).any(axis=1), slots, 0).max()


def scatter(values: Array, indices: Array, x: Array, start: Array) -> Array:
    """Returns `start` `[count, d]` plus, in row i, `values[b, j] x[b]` where `indices` has i."""
    forms = dict(cpu=_scatter_by_latent, default=_scatter_by_slot)
    if kernels := kernels_for(start.shape[1]):
        forms["cuda"] = kernels.scatter
    return lax.platform_dependent(values, indices, x, start, **forms)


def kernels_for(columns: int) -> ModuleType | None:
    """Returns the kernels for GPUs, where they are asked for and matrices fit."""
    if os.environ.get("SAE_JAX_KERNELS") != "pallas":
        return None
    from sae_jax.ops import kernels  # Pallas alone takes a tenth of a second to import.

    return kernels if kernels.fit(columns) else None


def _scatter_by_slot(values: Array, indices: Array, x: Array, start: Array) -> Array:
    def add(total: Array, latent: tuple[Array, Array]) -> tuple[Array, None]:
        value, index = latent
        return total.at[index].add(value[:, None] * x), None

    return lax.scan(add, start, (values.T, indices.T))[0]


def _scatter_by_latent(values: Array, indices: Array, x: Array, start: Array) -> Array:
    """Returns the same, adding to one row after the other, so that it is in a core's cache.

    Latent and place of an entry are sorted as one number of 32 bits, eight times as fast as a pair;
    where they need more, some entries are sorted after the others.
    """
    count = len(start)
    room = 32 - count.bit_length()
    entries = values.size + -values.size % _AT_ONCE
    size = min(entries, 2**room)
    entries += -entries % size
    padding = (0, entries - values.size)
    value = jnp.pad(values.reshape(-1), padding)
    # Zeros count as of one latent more, and so come last.
    key = jnp.where(value != 0, jnp.pad(indices.reshape(-1), padding), count)
    key = key.astype(jnp.uint32).reshape(-1, size) << room
    key = lax.sort(key | lax.iota(jnp.uint32, size)[None])
    latent = (key >> room).astype(jnp.int32)
    first = lax.iota(jnp.int32, entries // size)[:, None] * size
    entry = first + (key & (2**room - 1)).astype(jnp.int32)
    row = jnp.minimum(entry // values.shape[1], len(x) - 1)
    blocks = [each.reshape(-1, _AT_ONCE) for each in (latent, value[entry], row)]

    def add(block: Array, total: Array) -> Array:
        latent, value, row = (each[block] for each in blocks)
        return total.at[latent].add(value[:, None] * x[row], indices_are_sorted=True, mode="drop")

    # Where all are sorted at once, blocks of nothing but zeros are left out.
    last = _used(blocks[1])
    return lax.fori_loop(0, last, add, start)
