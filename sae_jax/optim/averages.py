"""Averages of parameters over steps: what is evaluated and kept, while others are trained.

  average_t = decay average_{t-1} + (1 - decay) params_t,  divided by 1 - decay^t when it is read

An average is a link of the optimiser's chain, after all that moves parameters; so it is saved with
the optimiser's state, and nothing else needs to know of it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

Params = Any


class AverageState(NamedTuple):
    """What `average` carries on.

    Attributes:
      weight: float32 `[]`, what the weights of all steps so far add up to, `1 - decay^t`.
      average: the sum of the parameters, each step's by its weight.
    """

    weight: jax.Array
    average: Params


def average(decay: float) -> optax.GradientTransformation:
    """Keeps the exponential average of the parameters after each step; changes no update.

    Args:
      decay: what is left of a step's weight after each later one, from 0 to below 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"average={decay}: it must be from 0 (none) to below 1")

    def init(params: Params) -> AverageState:
        return AverageState(jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: Params, state: AverageState, params: Params | None = None
    ) -> tuple[Params, AverageState]:
        if params is None:
            raise ValueError("an average needs the parameters: update(updates, state, params)")
        moved = jax.tree.map(
            lambda old, param, update: decay * old + (1 - decay) * (param + update),
            state.average,
            params,
            updates,
        )
        return updates, AverageState(decay * state.weight + (1 - decay), moved)

    return optax.GradientTransformation(init, update)


def at_rest(opt_state: optax.OptState, params: Params) -> Params | None:
    """Returns the parameters to evaluate, or None where they are the ones that are trained.

    Args:
      opt_state: of a chain that may hold an average, or schedule-free Adam's own.
      params: those that are trained.
    """
    kinds = (AverageState, contrib.ScheduleFreeState)
    found = [
        leaf
        for leaf in jax.tree.leaves(opt_state, is_leaf=lambda leaf: isinstance(leaf, kinds))
        if isinstance(leaf, kinds)
    ]
    if not found:
        return None
    kept = found[-1]
    if isinstance(kept, contrib.ScheduleFreeState):
        return contrib.schedule_free_eval_params(kept, params)
    # Before the first step there is no average.
    weight = kept.weight
    return jax.tree.map(
        lambda total, param: jnp.where(weight > 0, total / jnp.maximum(weight, 1e-30), param),
        kept.average,
        params,
    )
