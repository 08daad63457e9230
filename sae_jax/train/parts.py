"""The gradient of a batch, in one pass or in several that need less memory.

With P parts the gradient is the mean of theirs, each by its share of the examples: that of the
whole batch, up to rounding, for every term that is a mean over examples, and for `mse_normalised`,
which is given the variance of the whole batch. What else is chosen or divided by over a batch
(BatchTopK, the variance of the error in `auxk`, a mean L0) is chosen or divided by over a part.
What a model carries on moves once a step, to the mean of where the parts would move it.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import factors, sparse

PyTree = Any
Loss = Callable[..., tuple[jax.Array, tuple[types.Output, PyTree, dict[str, jax.Array]]]]


@struct.dataclass
class Found:
    """What a batch showed besides its gradient.

    Attributes:
      loss: `[]`.
      terms: of the loss, unweighted, `[]` each.
      error: `[batch]`, `||target - x_hat||^2`, summed over d; 0 for padding.
      l0: `[]`, active latents, summed over examples.
      active: float32 `[d_sae]`, 1 for a latent that was active in some example.
    """

    loss: Float[Array, ""]
    terms: dict[str, Float[Array, ""]]
    error: Float[Array, " batch"]
    l0: Float[Array, ""]
    active: Float[Array, " d_sae"]


def gradient(
    loss: Loss,
    params: PyTree,
    stats: PyTree,
    batch: types.Batch,
    context: types.Context,
    parts: int = 1,
    factored: Mapping[str, int] | None = None,
) -> tuple[PyTree, PyTree, Found]:
    """Returns the gradient of a batch's loss, the stats after it, and what was found.

    Args:
      loss: `(params, stats, batch, context) -> (loss, (output, stats, terms))`.
      params: what to differentiate by.
      stats: what the model carries on; the same for each part.
      batch: in the model's scale; its size is a multiple of `parts`.
      context: each part has a key of its own.
      parts: in how many passes.
      factored: how many latents matrices have whose gradient is to be a `factors.Sum`; where
        something besides sparse products reads them it is an array all the same.
    """
    given = (params, stats, batch, context, parts)
    if factored:
        try:
            return _gradient(factors.value_and_grad(loss, factored), factored, *given)
        except factors.OtherReaderError:
            pass
    return _gradient(jax.value_and_grad(loss, has_aux=True), {}, *given)


def _gradient(
    graded: Callable[..., Any],
    factored: Mapping[str, int],
    params: PyTree,
    stats: PyTree,
    batch: types.Batch,
    context: types.Context,
    parts: int,
) -> tuple[PyTree, PyTree, Found]:
    if parts == 1:
        return _whole(graded, params, stats, batch, context)
    rows = types.mask(batch).sum()
    variance = types.variance(batch)
    cut = jax.tree.map(lambda array: _cut(array, parts), dataclasses.replace(batch, variance=None))
    keys = jax.random.split(context.key, parts)

    def add(carry: tuple[PyTree, PyTree], part: tuple[types.Batch, Array]) -> Any:
        batch, key = part
        share = types.mask(batch).sum() / rows
        own = dataclasses.replace(context, key=key)
        batch = dataclasses.replace(batch, variance=variance)
        grads, after, found = _whole(graded, params, stats, batch, own)
        moves = jax.tree.map(jnp.subtract, after, stats)  # What stays as it is stays so exactly.
        sums = {name: grads.pop(name).scaled(share) for name in factored}
        total = jax.tree.map(lambda total, part: total + share * part, carry, (grads, moves))
        return total, (share, found, sums)

    summed = {name: param for name, param in params.items() if name not in factored}
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), (summed, stats))
    (grads, moves), (shares, found, sums) = jax.lax.scan(add, zeros, (cut, keys))
    grads = jax.tree.map(lambda grad, param: grad.astype(param.dtype), grads, summed)
    grads |= {name: each.joined() for name, each in sums.items()}
    return grads, jax.tree.map(jnp.add, stats, moves), _joined(shares, found)


def _whole(
    graded: Callable[..., Any],
    params: PyTree,
    stats: PyTree,
    batch: types.Batch,
    context: types.Context,
) -> tuple[PyTree, PyTree, Found]:
    (value, (output, stats, terms)), grads = graded(params, stats, batch, context)
    mask = types.mask(batch)
    found = Found(
        loss=value,
        terms=terms,
        error=((batch.target - output.x_hat) ** 2).sum(axis=-1) * mask,
        l0=(sparse.active(output.codes) * mask).sum(),
        active=sparse.ever_active(output.codes, mask),
    )
    return grads, stats, found


def _cut(array: Array, parts: int) -> Array:
    """Returns `[parts, batch / parts, ...]`, every `parts`-th example in a part.

    So each part is spread over devices as the batch is.
    """
    return array.reshape(-1, parts, *array.shape[1:]).swapaxes(0, 1)


def _joined(shares: Array, found: Found) -> Found:
    """Returns what the parts found as one."""
    return Found(
        loss=(shares * found.loss).sum(),
        terms={name: (shares * term).sum() for name, term in found.terms.items()},
        error=found.error.swapaxes(0, 1).reshape(-1),
        l0=found.l0.sum(),
        active=found.active.max(axis=0),
    )
