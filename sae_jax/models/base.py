"""The only two calls into flax: `init` and `forward`.

A model is a linen module whose call is `model(x, context) -> types.Output` on a `[batch, d_in]` in
the model's own scale. Parameters are a dict of arrays under the field's names (`w_enc`, `w_dec`,
`b_enc`, `b_dec`); what a forward pass carries on besides (a running threshold) is its `stats`.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from sae_jax import types

Params = dict[str, Any]
Stats = dict[str, Any]


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
    """Returns the output for a batch, and the stats after it; only training changes stats."""
    variables = {"params": params, "stats": stats}
    if not context.train:
        return model.apply(variables, x, context), stats  # type: ignore[return-value]
    output, changed = model.apply(variables, x, context, mutable=["stats"])
    return output, dict(changed.get("stats", {}))
