"""The largest pre-activations of each example, found a block of latents at a time.

  pre[:, block] = (x - centre) w_enc[:, block] + b_enc[block]
  best          = the k largest of what was the best so far and of those of the block

Never is there a `[batch, d_sae]` in memory: of the pre-activations, one block of them; backward,
k values of each example and the latents they belong to, as `sparse.known` has it. What is found is
what one matrix product and one top-k find, equals included: the best so far come first and are of
earlier latents, and of equals top-k takes the first.

Latents that are split over devices would be brought together block by block: see that they are not.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sae_jax import types
from sae_jax.ops import factors, linear, sparse, topk

_LARGE = 2**30  # Bytes of pre-activations from which on they are not all made at once.
_BLOCK = 2**27  # Bytes of them in a block: products of this size use a device fully.

# Of each example what was compared, the pre-activation, and which latent it is; `[batch, k]` each.
Best = tuple[Array, Array, Array]


@dataclasses.dataclass(frozen=True)
class Score:
    """What is compared of pre-activations: `of(a_i by_i)`. No gradient passes.

    Attributes:
      of: of a number alone.
      by: `[d_sae]`; None for ones.
      among: bool `[d_sae]`, latents that may be chosen; None for all.
    """

    of: Callable[[Array], Array] = lambda x: x
    by: Any = None
    among: Any = None

    def __call__(self, found: Array, latents: Array) -> Array:
        """Returns what is compared; `found` are pre-activations, `latents` which latents'."""
        compared = self.of(found if self.by is None else found * self.by[latents])
        if self.among is None:
            return compared
        return jnp.where(self.among[latents], compared, -jnp.inf)


def count(batch: int, d_sae: int, itemsize: int = 4) -> int:
    """Returns in how many blocks so many latents are best encoded: 1 below a gigabyte.

    Args:
      batch: examples of a step, over all devices.
      d_sae: number of latents.
      itemsize: bytes of a pre-activation.
    """
    size = batch * d_sae * itemsize
    return -(-size // _BLOCK) if size > _LARGE else 1


def top_k(
    pre: types.Pre, k: int, score: Score | None = None
) -> tuple[Float[Array, "batch k"], Int[Array, "batch k"], types.Pre]:
    """Returns the k pre-activations of each example whose scores are the largest, falling.

    Args:
      pre: without its dense form; blocks are widened to k latents where they would be narrower.
      k: how many, at most d_sae.
      score: what is compared; None for pre-activations themselves.

    Returns:
      The pre-activations, with the gradient of the encoder's formula, which latents they are, and
      `pre` with its weights passed on, as `sparse.known_and_pass` does.
    """
    parts = (pre.x, pre.centre, pre.w_enc, pre.b_enc)
    x, centre, w_enc, b_enc = lax.stop_gradient(parts)
    centred, d_sae = x - centre[None], w_enc.shape[1]
    width = min(max(-(-d_sae // pre.blocks), k), d_sae)
    best_of = functools.partial(_best_of, k, score or Score(), pre.compute)

    def of_block(number: Array | int) -> Best:
        begin = number * width
        first = jnp.minimum(begin, d_sae - width)  # The last block reaches back, to be as wide.
        latents = first + jnp.arange(width, dtype=jnp.int32)
        weights = lax.dynamic_slice_in_dim(w_enc, first, width, axis=1)
        biases = lax.dynamic_slice_in_dim(b_enc, first, width)
        return best_of(centred, weights, biases, latents, latents >= begin)

    def merge(best: Best, number: Array) -> tuple[Best, None]:
        pairs = zip(best, of_block(number), strict=True)
        compared, values, latents = (jnp.concatenate(pair, axis=1) for pair in pairs)
        return _largest(compared, values, latents, k), None

    blocks = -(-d_sae // width)
    # From the first block on there are k of them, so that nothing made up is ever among the best.
    best = lax.scan(merge, of_block(0), jnp.arange(1, blocks, dtype=jnp.int32))[0]
    values, pre = sparse.pass_on(pre, best[1], best[2])
    return values, best[2], pre


def _best_of(
    k: int,
    score: Score,
    compute: linear.Compute,
    centred: Array,
    weights: Array,
    biases: Array,
    latents: Array,
    new: Array,
) -> Best:
    """Returns the best of a block of latents, of which some may be known already.

    Args:
      k: how many of each example.
      score: what is compared.
      compute: the type of operands.
      centred: `[batch, d_in]`.
      weights: `[d_in, width]`.
      biases: `[width]`.
      latents: int32 `[width]`, which they are.
      new: bool `[width]`, those that may be chosen.
    """
    given = (centred, weights, biases, latents, new)
    forms = dict(default=functools.partial(_best_of_products, k, score, compute))
    group = topk.group_of(weights.shape[1], k)
    kernels = sparse.kernels_for(weights.shape[0])
    if group and kernels is not None and kernels.fits(*centred.shape, weights.shape[1], group):
        forms["cuda"] = functools.partial(_best_of_groups, k, score, compute, group)
    return lax.platform_dependent(*given, **forms)


def _best_of_products(
    k: int, score: Score, compute: linear.Compute, centred: Array, weights: Array, *rest: Array
) -> Best:
    biases, latents, new = rest
    found = linear.product(centred, weights, compute) + biases[None]
    compared = jnp.where(new[None], score(found, latents[None]), -jnp.inf)
    return _largest(compared, found, jnp.broadcast_to(latents[None], found.shape), k)


def _best_of_groups(
    k: int,
    score: Score,
    compute: linear.Compute,
    group: int,
    centred: Array,
    weights: Array,
    *rest: Array,
    interpret: bool = False,
) -> Best:
    """Returns the same by a kernel that finds the largest of each group on its way."""
    from sae_jax.ops import kernels

    biases, latents, new = rest
    by = jnp.ones(len(latents)) if score.by is None else score.by[latents]
    may = new if score.among is None else new & score.among[latents]
    plus = jnp.where(may, 0.0, -jnp.inf)
    operands = (centred.astype(compute), weights.astype(compute), biases)
    found, largest = kernels.encode(*operands, by, plus, score.of, group, interpret)
    places = topk.in_groups(largest, k, group)
    near = jnp.take_along_axis(found, places, axis=1)
    compared = score.of(near * by[places]) + plus[places]
    return _largest(compared, near, latents[places], k)


def _largest(compared: Array, values: Array, latents: Array, k: int) -> Best:
    """Returns the k largest of what is compared in each row, falling, and what they belong to."""
    largest, places = topk.top_k(compared, k)
    values, latents = (jnp.take_along_axis(of, places, axis=1) for of in (values, latents))
    return largest, values, latents


def decoded_where(
    needed: Bool[Array, ""],
    pre: types.Pre,
    k: int,
    score: Score,
    among: Bool[Array, " d_sae"],
    act: Callable[[Array], Array],
    w_dec: Float[Array, "d_sae d"],
) -> Float[Array, "batch d"]:
    """Returns `sum_j act(a_j) d_j` over the k latents, of some, whose a_j score the highest.

    Autodiff of a `lax.cond` would have it return copies of both weights; here only what was chosen
    is kept for the backward pass.

    Args:
      needed: if False nothing is computed, and there are zeros.
      pre: without its dense form.
      k: how many, fewer where there are not so many latents among them.
      score: what is compared of pre-activations; no gradient passes.
      among: which latents.
      act: what is done to a pre-activation.
      w_dec: the decoder's rows.
    """

    sinks, w_enc = _sinks(pre, k, w_dec), pre.w_enc
    if sinks is not None:
        w_enc, w_dec = lax.stop_gradient((w_enc, w_dec))
    decoded = functools.partial(_decoded, act)

    @jax.custom_vjp
    def run(needed: Array, among: Array, sinks: Any, *weights: Array) -> Array:
        return forward(needed, among, sinks, *weights)[0]

    def forward(needed: Array, among: Array, sinks: Any, *weights: Array) -> tuple[Array, tuple]:
        def chosen() -> tuple[Array, Array, Array]:
            x, centre, w_enc, b_enc, _ = weights
            given = types.Pre(None, x, centre, w_enc, b_enc, pre.blocks, pre.compute)
            values, indices, _ = top_k(given, k, dataclasses.replace(score, among=among))
            return decoded(values, indices, among, weights, sinks), values, indices

        shapes = jax.eval_shape(chosen)
        found, values, indices = lax.cond(needed, chosen, lambda: _zeros(shapes))
        return found, (needed, among, sinks, values, indices, weights)

    def backward(residuals: tuple, g: Array) -> tuple:
        needed, among, sinks, values, indices, weights = residuals

        def slopes() -> tuple:
            pull = jax.vjp(functools.partial(decoded, values, indices, among), weights, sinks)[1]
            (x, centre, w_enc, b_enc, w_dec), factored = pull(g)
            if sinks is not None:
                return x, centre, None, b_enc, None, factored
            # Turned round, as it is made, and of another shape than that of w_dec: zeros in their
            # place would else be turned, or made once and copied.
            return x, centre, w_enc.T[None], b_enc, w_dec, factored

        shapes = jax.eval_shape(slopes)
        x, centre, turned, *others, factored = lax.cond(needed, slopes, lambda: _zeros(shapes))
        w_enc = None if turned is None else turned[0].T
        return None, None, factored, x, centre, w_enc, *others

    run.defvjp(forward, backward)
    return run(needed, among, sinks, pre.x, pre.centre, w_enc, pre.b_enc, w_dec)


def _decoded(
    act: Callable[[Array], Array],
    values: Array,
    indices: Array,
    among: Array,
    weights: tuple,
    sinks: tuple[factors.Factors, factors.Factors] | None,
) -> Array:
    """Returns `sum_j act(a_j) d_j` of chosen pre-activations `values`, with their gradient."""
    x, centre, w_enc, b_enc, w_dec = weights
    if sinks is None:
        values = act(sparse.known(values, indices, x, centre, w_enc, b_enc))
        return sparse.decode(values * among[indices], indices, w_dec)
    values = act(sparse.known_into(values, indices, x, centre, w_enc, b_enc, sinks[0]))
    return sparse.decode_into(values * among[indices], indices, w_dec, sinks[1])


def _sinks(pre: types.Pre, k: int, w_dec: Array) -> tuple[factors.Factors, factors.Factors] | None:
    """Returns where the gradients of `w_enc` and `w_dec` go, if they are to be factors."""
    values = jax.ShapeDtypeStruct((len(pre.x), k), pre.x.dtype)
    error = jax.ShapeDtypeStruct((len(pre.x), w_dec.shape[1]), pre.x.dtype)
    encoder, decoder = factors.sink(pre.w_enc, values, pre.x), factors.sink(w_dec, values, error)
    return None if encoder is None or decoder is None else (encoder, decoder)


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def is_blocked(pre: Array | types.Pre) -> bool:
    """Returns whether pre-activations are made in blocks, and never all at once."""
    return isinstance(pre, types.Pre) and pre.dense is None


def scaled_by(
    numbers: Float[Array, " d_sae"] | None, of: Callable[[Array], Array] = lambda x: x
) -> Score:
    """Returns the score `of(a_i numbers_i)`; without numbers, `of(a_i)`."""
    # Here, not where it is used: the rule of a gradient may read it, but no tracer of one.
    return Score(of, None if numbers is None else lax.stop_gradient(numbers))
