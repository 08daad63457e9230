"""Constraints on parameters by name: what holds before the first step and after each one.

A constraint is the last link of the optimiser's chain (as `optax.keep_params_nonnegative` is), and
`project` brings the initial parameters into its set. Where latents of several layers are kept apart
it holds for the rows of each. With each of them, the thresholds that an activation learns stay at 0
or above.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sae_jax import errors
from sae_jax.ops import geometry

Params = dict[str, Any]


class Constraint(NamedTuple):
    """A set of parameters: how to enter it, and how to stay in it."""

    project: Callable[[Params], Params]
    link: optax.GradientTransformation


def none() -> Constraint:
    """Lets every parameter go where it wants, but for thresholds."""
    return _of_rows(None)


def unit_norm() -> Constraint:
    """Keeps each row of `w_dec` at norm 1.

    The part of an update that is parallel to its row is taken out (of Adam's *update*: a projected
    gradient is no longer tangent after Adam has divided its coordinates), and the moved row is
    scaled back to norm 1, after the step, so that what is saved has norm 1.
    """
    return _of_rows(geometry.unit_rows, geometry.without_parallel)


def norm_at_most_one() -> Constraint:
    """Keeps the norm of each row of `w_dec` at 1 or below: a longer one is scaled back to 1."""
    return _of_rows(lambda rows: rows / jnp.maximum(geometry.norms(rows), 1))


def frozen_rows() -> Constraint:
    """Keeps `w_dec` as it was before the first step: a random dictionary that is only read.

    What a model has learned beyond that ("frozen decoder", arXiv 2602.14111) is in its encoder.
    """
    return _of_rows(lambda rows: rows, lambda moves, rows: jnp.zeros_like(moves))


def _of_rows(
    enter: Callable[[jax.Array], jax.Array] | None,
    turn: Callable[[jax.Array, jax.Array], jax.Array] = lambda moves, rows: moves,
) -> Constraint:
    """Returns the constraint whose rows of `w_dec` are `enter(rows + turn(moves, rows))`."""

    def project(params: Params) -> Params:
        if enter is not None:
            params = _at_rows(enter, params)
        for name, learned in _with_thresholds(params):
            positive = jnp.maximum(learned["threshold"], 0)
            params = {**params, name: {**learned, "threshold": positive}}
        return params

    def update(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        if params is None:
            raise ValueError("a constraint needs the parameters: update(updates, state, params)")
        if enter is not None:
            of = functools.partial(_held, enter, turn)
            updates = _at_rows(of, updates, params)
        for name, learned in _with_thresholds(params):
            # Nothing below 0 can be reached by a move of at least minus the threshold.
            upward = jnp.maximum(updates[name]["threshold"], -learned["threshold"])
            updates = {**updates, name: {**updates[name], "threshold": upward}}
        return updates, state

    def init(params: Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    return Constraint(project, optax.GradientTransformation(init, update))


def _held(
    enter: Callable[[jax.Array], jax.Array],
    turn: Callable[[jax.Array, jax.Array], jax.Array],
    moves: jax.Array,
    rows: jax.Array,
) -> jax.Array:
    return enter(rows + turn(moves, rows)) - rows


def _at_rows(of: Callable[..., jax.Array], *trees: Params) -> Params:
    """Returns the first tree with `of(w_dec, ...)` of all trees for its `w_dec`, in each layer.

    Raises:
      UserError: there is none.
    """
    groups = [name for name in trees[0] if _has_rows(trees[0][name])]
    if "w_dec" not in trees[0] and not groups:
        raise errors.UserError(
            'config.optim.constraint: this model has no parameter w_dec: set it to "none"'
        )
    made: Params = {name: _at_rows(of, *(tree[name] for tree in trees)) for name in groups}
    if "w_dec" in trees[0]:
        made["w_dec"] = of(*(tree["w_dec"] for tree in trees))
    return {**trees[0], **made}


def _has_rows(group: Any) -> bool:
    return isinstance(group, Mapping) and "w_dec" in group


def _with_thresholds(params: Params) -> list[tuple[str, Params]]:
    """Returns name and parameters of each activation that learns thresholds."""
    groups = [(name, group) for name, group in params.items() if isinstance(group, Mapping)]
    return [(name, dict(group)) for name, group in groups if "threshold" in group]
