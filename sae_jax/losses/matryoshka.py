"""Reconstruction from the first latents alone, for several numbers of them at once.

  x_hat^(m) = b_dec + sum_{i < m} f_i d_i

A latent that is needed by small dictionaries must mean something general, and finds no gain in
leaving its part to later, more special ones (Bussmann et al. 2025, arXiv 2503.17547; Nabeshima
2024). All prefixes together cost about one decode: each adds its latents to the one before.
"""

from collections.abc import Sequence
import functools
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import geometry, schedule, sharded, sparse
from sae_jax.ops.sharded import BOTH, LATENTS, WHOLE

_ON_EACH = ("dictionary", None, "data")  # What each device adds: `[devices, prefixes, batch, d]`.
_BLOCKS = 32  # In which a dictionary is decoded where prefixes may end anywhere.


def matryoshka(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    prefixes: Sequence[int | float] = (0.25, 0.5, 1.0),
    weights: Sequence[int | float] = (),
    total: Literal["mean", "sum"] = "mean",
    detach: bool = False,
) -> Float[Array, " batch"]:
    """Returns the errors of all prefixes, each `||target - x_hat^(m)||^2` summed over d.

    Use it in the place of `mse_sum`: the last prefix is the whole dictionary.

    Args:
      params: `w_dec` and `b_dec` are read.
      batch: the target is read.
      output: its codes are read.
      context: not read.
      prefixes: growing numbers of latents, or shares of the dictionary (1.0 is all of it).
      weights: of each prefix; empty: 1 for each.
      total: whether the weighted errors are added, or divided by the sum of the weights too.
      detach: whether an error moves only the latents that its own prefix adds.
    """
    del context
    w_dec = geometry.decoder_rows(params, output)
    ends = _ends(prefixes, w_dec.shape[0])
    scale = jnp.asarray(_weights(weights, ends), jnp.float32)
    x_hat = jnp.broadcast_to(params["b_dec"][None], batch.target.shape)
    error = jnp.zeros(batch.size)
    parts = _parts(output.codes, w_dec, ends)
    for number, (weight, part) in enumerate(zip(scale, parts, strict=True)):
        x_hat = lax.stop_gradient(x_hat) if detach and number else x_hat
        x_hat = x_hat + part
        error += weight * ((batch.target - x_hat) ** 2).sum(axis=-1)
    return error if total == "sum" else error / scale.sum()


def matryoshka_random(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    prefixes: int = 5,
    power: float = 0.5,
    l1: schedule.Number = 0.0,
) -> Float[Array, " batch"]:
    """Returns the mean over random prefixes of their errors, each with an L1 term of its own.

      ||target - x_hat^(m)||^2 + l1 sum_{i < m} |f_i| ||d_i||,    sums over d and over latents

    (Nabeshima 2024.) One prefix is the whole dictionary; the others are drawn anew at each step,
    no two alike, m with a probability that falls as `m^power - (m - 1)^power`: short prefixes are
    the likeliest, and the first latents the most general.

    Args:
      params: `w_dec` and `b_dec` are read.
      batch: the target is read.
      output: its codes are read.
      context: its key draws the prefixes, its step is read if `l1` is a schedule.
      prefixes: how many, the whole dictionary among them.
      power: of the probabilities, above 0 and below 1; at 1 all prefixes would be as likely.
      l1: weight of the sparsity term, by that of the error; a number or a schedule.
    """
    w_dec = geometry.decoder_rows(params, output)
    ends = _random_ends(context.key, prefixes, power, w_dec.shape[0])
    x_hats = params["b_dec"][None, None] + _decoded(output.codes, w_dec, ends)
    error = ((batch.target[None] - x_hats) ** 2).sum(axis=-1).mean(axis=0)
    # A latent is in so many prefixes: its part in the mean of their sparsity terms.
    inside = (jnp.arange(w_dec.shape[0])[:, None] < ends[None]).mean(axis=1)
    costs = sparse.of_latents(output.codes, inside * geometry.norms(w_dec)[:, 0])
    size = (jnp.abs(sparse.values(output.codes)) * costs).sum(axis=-1)
    return error + schedule.value(l1, context.step) * size


def _random_ends(key: Array, prefixes: int, power: float, d_sae: int) -> Int[Array, " prefixes"]:
    """Returns where random prefixes end, growing, the last at `d_sae`."""
    if not 1 <= prefixes <= d_sae:
        raise errors.ConfigError(
            f"prefixes={prefixes} of {d_sae} latents: there must be 1 at least, and no more than "
            "latents"
        )
    places = np.arange(1, d_sae)
    falling = places**power - (places - 1) ** power
    chosen = jax.random.choice(
        jax.random.fold_in(key, 4), d_sae - 1, (prefixes - 1,), False, falling / falling.sum()
    )
    return jnp.append(jnp.sort(chosen) + 1, d_sae)


def _decoded(
    codes: Array | types.Codes, w_dec: Array, ends: Int[Array, " prefixes"]
) -> Float[Array, "prefixes batch d"]:
    """Returns `sum_{i < end} f_i d_i` for each end."""
    if isinstance(codes, types.Codes):
        starts = jnp.append(0, ends[:-1])
        return jnp.cumsum(
            jnp.stack(_sparse_parts(codes, w_dec, [*zip(starts, ends, strict=True)])), axis=0
        )
    split = sharded.split(*codes.shape)
    if not split.splits("dictionary"):
        return _by_blocks(codes, w_dec, ends)

    def own(codes: Array, w_dec: Array, ends: Array) -> Array:
        here = jnp.clip(ends - split.place() * len(w_dec), 0, len(w_dec))
        made = _by_blocks(codes, w_dec, jnp.maximum(here, 1))
        return jnp.where((here > 0)[:, None, None], made, 0.0)[None]

    return split.over(own, (BOTH, LATENTS, WHOLE), _ON_EACH)(codes, w_dec, ends).sum(axis=0)


def _by_blocks(codes: Array, w_dec: Array, ends: Array) -> Array:
    """Returns `sum_{i < end} f_i d_i` for each end, from 1 on, `[prefixes, batch, d]`.

    Dense codes are decoded in blocks of latents that are then summed; besides, each prefix costs
    the block in which it ends.
    """
    size = -(-w_dec.shape[0] // _BLOCKS)
    blocks = -(-w_dec.shape[0] // size)
    short = blocks * size - w_dec.shape[0]
    rows = jnp.pad(w_dec, ((0, short), (0, 0))).reshape(blocks, size, -1)
    parts = jnp.pad(codes, ((0, 0), (0, short))).reshape(-1, blocks, size).swapaxes(0, 1)
    whole = jnp.cumsum(jnp.einsum("kbi,kid->kbd", parts, rows), axis=0)
    last, rest = (ends - 1) // size, (ends - 1) % size
    # What a prefix leaves out of the block in which it ends.
    beyond = jnp.arange(size)[None] > rest[:, None]
    left_out = jnp.einsum("pbi,pid->pbd", parts[last] * beyond[:, None], rows[last])
    return whole[last] - left_out


def _parts(codes: Array | types.Codes, w_dec: Array, ends: Sequence[int]) -> list[Array]:
    """Returns what the latents from each end to the next write, `[batch, d]` each."""
    cuts = list(zip((0, *ends), ends, strict=False))
    if isinstance(codes, types.Codes):
        return _sparse_parts(codes, w_dec, cuts)
    split = sharded.split(*codes.shape)
    if not split.splits("dictionary"):
        return [codes[:, start:end] @ w_dec[start:end] for start, end in cuts]
    count = split.part(len(w_dec))

    def own(codes: Array, w_dec: Array) -> Array:
        def at(first: int, codes: Array, w_dec: Array) -> Array:
            here = np.clip(np.asarray(cuts) - first, 0, count).tolist()
            return jnp.stack([codes[:, start:end] @ w_dec[start:end] for start, end in here])

        firsts = range(0, split.shards["dictionary"] * count, count)
        branches = [functools.partial(at, first) for first in firsts]
        return lax.switch(split.place(), branches, codes, w_dec)[None]

    return list(split.over(own, (BOTH, LATENTS), _ON_EACH)(codes, w_dec).sum(axis=0))


def _sparse_parts(
    codes: types.Codes, w_dec: Array, cuts: Sequence[tuple[int | Array, int | Array]]
) -> list[Array]:
    """Returns what the latents from each start to its end write, `[batch, d]` each.

    Those of a cut come first in their rows, so that a decode ends with the last of them; and each
    passes `w_dec` on to the next, so that their gradients are added in place.
    """
    parts = []
    for start, end in cuts:
        inside = (codes.indices >= start) & (codes.indices < end)
        order = jnp.argsort(~inside, axis=1, stable=True)
        values, indices = (
            jnp.take_along_axis(each, order, axis=1)
            for each in (jnp.where(inside, codes.values, 0.0), codes.indices)
        )
        part, w_dec = sparse.decode_and_pass(values, indices, w_dec)
        parts.append(part)
    return parts


def _ends(prefixes: Sequence[int | float], d_sae: int) -> list[int]:
    """Returns where prefixes end; raises for those that do not grow up to the whole dictionary."""
    ends = [round(end * d_sae) if isinstance(end, float) else end for end in prefixes]
    if not ends or ends[-1] != d_sae or ends[0] < 1 or sorted(set(ends)) != ends:
        raise errors.ConfigError(
            f"prefixes={tuple(prefixes)} are {ends} of {d_sae} latents: they must grow, from 1 "
            "latent at least to all of them"
        )
    return ends


def _weights(weights: Sequence[int | float], ends: list[int]) -> list[float]:
    if weights and len(weights) != len(ends):
        raise errors.ConfigError(
            f"{len(weights)} weights for {len(ends)} prefixes: give one for each"
        )
    return list(weights) or [1.0] * len(ends)
