"""What architectures are made of: linear codes, initialisers, non-linearities, checks of fields."""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import functools
from typing import Any, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp

from sae_jax import types
from sae_jax.ops import blocked, few, geometry, linear, rounding, sparse

NONLINEARITIES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}
Centre = Literal["zeros", "mean", "median"]
RECTIFIERS = ("elu", "gelu", "relu", "silu")
_LARGE = 2**30  # Bytes of a matrix from which on it is drawn in blocks.
_DRAWN = 2**24  # Bytes of such a block.
_MATCHED = 256  # Examples whose reconstructions are measured,
_ENCODED = 2**27  # fewer where their pre-activations would be more bytes than these.


def encode(
    activation: nn.Module,
    x: jax.Array,
    centre: jax.Array,
    w_enc: jax.Array,
    b_enc: jax.Array,
    context: types.Context,
    norms: jax.Array | None = None,
    blocks: int = 1,
    compute: linear.Compute = "float32",
) -> tuple[jax.Array | types.Codes, types.Pre]:
    """Returns codes and pre-activations `(x - centre) w_enc + b_enc` of a linear encoder.

    Args:
      activation: pre-activations to codes.
      x: `[batch, d_in]`.
      centre: `[d_in]`.
      w_enc: `[d_in, d_sae]`.
      b_enc: `[d_sae]`.
      context: of the pass.
      norms: as `activate` takes them.
      blocks: of latents, encoded one after the other in a training step; 0 for as many as suit the
        sizes. At rest all latents are encoded at once.
      compute: the type to which the operands of products are rounded.
    """
    d_sae = w_enc.shape[1]
    count = blocks or blocked.count(x.shape[0], d_sae, x.dtype.itemsize)
    k = _max_active(activation, d_sae) if context.train and count > 1 else None
    if k is None:
        everything = linear.encode(x, centre, w_enc, b_enc, compute)
        found = _few(activation, everything, context, norms)
        if found is not None:
            everything = few.attach(
                jax.lax.stop_gradient(everything), found, x, centre, w_enc, b_enc, compute
            )
        if hasattr(activation, "choose"):
            # Written once: each of its readers would else add the bias anew and write its own.
            everything = jax.lax.optimization_barrier(everything)
        pre = types.Pre(everything, x, centre, w_enc, b_enc, few=found)
        return _activated(activation, pre, context, norms)
    kept: Any = activation
    pre = types.Pre(None, x, centre, w_enc, b_enc, count, compute)
    values, indices, pre = blocked.top_k(pre, k, blocked.scaled_by(norms, kept.score))
    return types.Codes(kept.value(values, context), indices, d_sae), pre


def _few(
    activation: nn.Module, pre: jax.Array, context: types.Context, norms: jax.Array | None
) -> types.Few | None:
    """Returns which latents count in a training step, if the activation can leave few of them."""
    if not context.train or not hasattr(activation, "margin") or activation.is_initializing():
        return None
    bound: Any = activation
    return few.find(bound.margin(pre if norms is None else pre * norms[None]))


def check_blocks(blocks: int, activation: nn.Module, d_sae: int) -> None:
    """Raises a ValueError for blocks that an activation cannot choose from."""
    if blocks < 0:
        raise ValueError(f"blocks={blocks}: it must be 1 or more, or 0 to choose by the sizes")
    if blocks > 1 and _max_active(activation, d_sae) is None:
        raise ValueError(
            f"blocks={blocks}: only topk and abs_topk can choose from blocks, with a number for k "
            'and another form than "dense"'
        )


def _max_active(activation: nn.Module, d_sae: int) -> int | None:
    """Returns how many latents of each example are kept, if they can be chosen from blocks."""
    most: Any = getattr(activation, "max_active", None)
    return most and most(d_sae, train=True)


def activate(
    activation: nn.Module,
    pre: jax.Array | types.Pre,
    context: types.Context,
    norms: jax.Array | None = None,
) -> jax.Array | types.Codes:
    """Returns codes `[batch, d_sae]`, sparse ones if the activation can choose few latents.

    Args:
      activation: pre-activations to codes.
      pre: what it is given.
      context: of the pass.
      norms: `[d_sae]`, what one unit of a latent writes: the activation then compares what latents
        write, `pre * norms`, and the codes that it leaves are divided by them again. No gradient.
    """
    return _activated(activation, pre, context, norms)[0]


def _activated(
    activation: nn.Module, pre: Any, context: types.Context, norms: jax.Array | None
) -> tuple[jax.Array | types.Codes, Any]:
    """Returns codes, and pre-activations with their weights passed on to what else reads them."""
    everything = sparse.all_of(pre)
    size = None if norms is None else jax.lax.stop_gradient(norms)[None]
    seen = everything if size is None else everything * size
    choose: Any = getattr(activation, "choose", lambda pre, context: None)
    indices = choose(seen, context)
    if indices is None:
        codes: Any = activation(seen, context)
        return codes if size is None else codes / jnp.where(size > 0, size, 1.0), pre
    kept: Any = activation
    found, pre = sparse.take_and_pass(pre, indices)
    if hasattr(activation, "among"):
        codes = kept.among(found, sparse.take(seen, indices), context)
    else:
        codes = kept.value(found, context)
    return types.Codes(codes, indices, everything.shape[-1]), pre


def decode_and_pass(
    codes: jax.Array | types.Codes,
    pre: types.Pre,
    w_dec: jax.Array,
    compute: linear.Compute = "float32",
) -> tuple[jax.Array, jax.Array]:
    """Returns `codes w_dec` for what `encode` returned, and `w_dec` for what else reads it."""
    if pre.few is not None:
        return few.product(codes, pre.few, w_dec, compute), w_dec
    return sparse.product_and_pass(codes, w_dec, compute)


def decode(params: Mapping[str, Any], codes: jax.Array | types.Codes) -> jax.Array:
    """Returns `codes w_dec + b_dec`, `[batch, d_in]`."""
    return sparse.product(codes, params["w_dec"]) + params["b_dec"][None]


def initializer(nonlinearity: str) -> Any:
    """Returns how weights before a non-linearity start.

    Rectifiers: normal of variance 2 / fan-in (He et al. 2015); the others: uniform within
    +-sqrt(6 / (fan-in + fan-out)) (Glorot & Bengio 2010).
    """
    if nonlinearity in RECTIFIERS:
        return nn.initializers.he_normal()
    return nn.initializers.glorot_uniform()


def directions(norm: float) -> Callable[[jax.Array, tuple[int, int]], jax.Array]:
    """Returns what makes rows `[d_sae, d_in]` in random directions, of norm `norm`."""

    def draw(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        return norm * geometry.unit_rows(jax.random.normal(key, shape))

    return functools.partial(_in_blocks, draw)


def _in_blocks(
    draw: Callable[[jax.Array, tuple[int, int]], jax.Array], key: jax.Array, shape: tuple[int, int]
) -> jax.Array:
    """Returns rows that are drawn; of a large matrix some after the other, each with a key.

    What draws random numbers keeps several times as many of them while it does.
    """
    count, width = shape[0], min(max(1, _DRAWN // (4 * shape[1])), shape[0])
    if 4 * count * shape[1] < _LARGE:
        return draw(key, shape)

    def put(number: jax.Array, rows: jax.Array) -> jax.Array:
        first = jnp.minimum(number * width, count - width)  # The last block reaches back.
        drawn = draw(jax.random.fold_in(key, number), (width, shape[1]))
        return jax.lax.dynamic_update_slice_in_dim(rows, drawn, first, axis=0)

    return jax.lax.fori_loop(0, -(-count // width), put, jnp.zeros(shape))


def transposed(key: jax.Array, w_dec: jax.Array) -> jax.Array:
    """Returns `w_enc` `[d_in, d_sae]` that starts as a copy of the decoder."""
    del key
    return jnp.array(w_dec.T, copy=True)


def aligned(w_enc: jax.Array, w_dec: jax.Array) -> jax.Array:
    """Returns `w_enc` `[d_in, d_sae]`, each column moved along its decoder row to `<e_i, d_i> = 1`.

    e_i + (1 - <e_i, d_i>) d_i / ||d_i||^2: what a latent writes, it reads back as it was (arXiv
    2605.18629).
    """
    w_enc, w_dec = rounding.widened(w_enc), rounding.widened(w_dec)
    missing = 1 - (w_enc * w_dec.T).sum(axis=0)
    return w_enc + w_dec.T * (missing / geometry.norms(w_dec)[:, 0] ** 2)[None]


def matched(
    activation: nn.Module,
    key: jax.Array,
    x: jax.Array,
    centre: jax.Array,
    b_dec: jax.Array,
    w_dec: jax.Array,
    context: types.Context,
) -> jax.Array:
    """Returns `w_enc` `[d_in, d_sae]`, a multiple of the transpose of the decoder.

    With it `codes w_dec` has, on average over the first examples, the norm of `x - b_dec`. Needs an
    activation whose codes grow as its pre-activations do; it is used as in the first training step.

    Args:
      activation: pre-activations to codes; neither its parameters nor its stats are changed.
      key: typed PRNG key `[]`.
      x: `[batch, d_in]`.
      centre: `[d_in]`, what the encoder takes off x.
      b_dec: `[d_in]`.
      w_dec: `[d_sae, d_in]`.
      context: of the pass.
    """
    x = x[: max(1, min(_MATCHED, _ENCODED // (4 * len(w_dec))))]
    pre = linear.encode(x, centre, w_dec.T, jnp.zeros(len(w_dec), x.dtype))
    alone: Any = activation.clone(parent=None)
    codes = alone.init_with_output(key, pre, dataclasses.replace(context, train=True))[0]
    wanted = geometry.norms(x - b_dec[None]).mean()
    return w_dec.T * wanted / geometry.norms(codes @ w_dec).mean()


def centre(bias: Centre) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns what makes `b_dec` `[d_in]` of examples: their mean, geometric median, or zeros."""
    of = {
        "zeros": lambda x: jnp.zeros(x.shape[1], x.dtype),
        "mean": lambda x: x.mean(axis=0),
        "median": geometry.median,
    }[bias]
    return lambda key, x: of(x)


def towards_examples(
    key: jax.Array, shape: tuple[int, int], x: jax.Array, norm: float
) -> jax.Array:
    """Returns rows that point from the centre of examples to some of them, drawn at random.

    Args:
      key: typed PRNG key `[]`.
      shape: `(d_sae, d_in)`; with more rows than examples some are used again.
      x: `[batch, d_in]`, examples less their centre.
      norm: of each row.
    """
    order = jax.random.permutation(key, x.shape[0])
    return norm * geometry.unit_rows(x[order[jnp.arange(shape[0]) % x.shape[0]]])


def mean_logit(x: jax.Array, smallest: float = 1e-3) -> jax.Array:
    """Returns `[d_in]`, the logit of the mean of `x` over its rows; a sigmoid undoes it."""
    mean = jnp.clip(x.mean(axis=0), smallest, 1 - smallest)
    return jnp.log(mean) - jnp.log1p(-mean)


def output_bias(
    bias: Literal["zeros", "mean"], output: str, x: jax.Array
) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    """Returns the initialiser of the last bias of a decoder.

    Args:
      bias: "zeros"; or "mean": without its weights the decoder gives the mean of the rows of `x`.
      output: what the decoder ends in, "sigmoid" or what leaves the mean as it is.
      x: `[rows, width]`, examples.
    """
    if bias == "zeros":
        return nn.initializers.zeros
    mean = mean_logit(x) if output == "sigmoid" else x.mean(axis=0)
    return lambda key, shape: jnp.asarray(mean)


def check_choice(field: str, value: str, choices: Collection[str]) -> None:
    """Raises a ValueError for a word that names no choice."""
    if value not in choices:
        raise ValueError(f'{field}="{value}": choose from {", ".join(choices)}')


def check_sizes(**sizes: int | Sequence[int]) -> None:
    """Raises a ValueError for a size that is not positive."""
    for field, value in sizes.items():
        for size in value if isinstance(value, Sequence) else (value,):
            if size < 1:
                raise ValueError(f"{field}={value}: it must be 1 or more")
