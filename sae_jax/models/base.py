"""The only two calls into flax: `init` and `forward`.

A model is a linen module whose call is `model(x, context) -> types.Output` on a `[batch, d_in]` in
the model's own scale. Parameters are a dict of arrays under the field's names (`w_enc`, `w_dec`,
`b_enc`, `b_dec`; other layers in dicts of their own); what a forward pass carries on besides (a
running threshold) is its `stats`. The file's `LATENT_AXES` names the axis that counts latents, for
each parameter that has one. What a model must know of its data, it has as a field: `d_in`, numbers
in an example; `d_out`, numbers in a reconstruction, if it can give others than it takes; `grid`,
what an example, reshaped, is. If its decoder needs nothing but codes, it has a method
`decode(codes) -> x_hat`, in its own scale too: then that half can be exported by itself. If the
rows of its dictionary are made of other parameters than `w_dec`, it has a method
`dictionary() -> [d_sae, d_in]`, and metrics find them as `w_dec` all the same.
"""

from collections.abc import Callable
import dataclasses
import functools
import inspect
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from sae_jax import errors, types
from sae_jax.ops import sparse

Params = dict[str, Any]
Stats = dict[str, Any]


def bind(
    model: nn.Module,
    params: Params,
    stats: Stats,
    context: types.Context,
    rescale: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> types.Bound:
    """Returns a model bound to its parameters; `rescale` brings an `x` into the model's scale."""
    at_rest = dataclasses.replace(context, train=False)

    def encode(x: jax.Array) -> jax.Array:
        return forward(model, params, stats, rescale(x), at_rest)[0].codes

    def call(method: str, *args: Any) -> Any:
        if not hasattr(model, method):
            raise errors.ConfigError(
                f"it needs a model with {method}, and {type(model).__name__} has none: set another "
                "config.model.name, or leave it out"
            )
        return model.apply({"params": params, "stats": stats}, *args, method=method)

    return types.Bound(encode, call, rescale)


def with_dictionary(model: nn.Module, params: Params, stats: Stats) -> Params:
    """Returns the parameters, with the rows that the model makes as `w_dec` if it makes them."""
    if not hasattr(model, "dictionary"):
        return params
    rows = model.apply({"params": params, "stats": stats}, method="dictionary")
    return {**params, "w_dec": rows}


def supply(function: Callable[..., Any], model: types.Bound) -> Callable[..., Any]:
    """Returns `function` with the model it asks for, if it asks by a parameter `model`."""
    asks = "model" in inspect.signature(function).parameters
    return functools.partial(function, model=model) if asks else function


def init(model: nn.Module, key: jax.Array, x: jax.Array) -> tuple[Params, Stats]:
    """Returns parameters and stats before the first step.

    Args:
      model: what to initialise.
      key: typed PRNG key `[]`.
      x: `[batch, d_in]`, examples that data-dependent initialisers may use.
    """
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=key, dead=jnp.zeros((), bool), train=False
    )
    variables = model.init(key, x, context)
    return dict(variables["params"]), dict(variables.get("stats", {}))


def forward(
    model: nn.Module, params: Params, stats: Stats, x: jax.Array, context: types.Context
) -> tuple[types.Output, Stats]:
    """Returns the output for a batch, and the stats after it; only training changes stats.

    Sparse forms are for training: at rest codes and pre-activations are dense arrays.
    """
    variables = {"params": params, "stats": stats}
    if not context.train:
        output: Any = model.apply(variables, x, context)
        codes, pre = sparse.dense(output.codes), sparse.all_of(output.pre)
        return dataclasses.replace(output, codes=codes, pre=pre), stats
    output, changed = model.apply(variables, x, context, mutable=["stats"])
    return output, dict(changed.get("stats", {}))
