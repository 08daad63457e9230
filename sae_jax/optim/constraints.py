"""Constraints on parameters by name: what holds before the first step and after each one.

A constraint is the last link of the optimiser's chain (as `optax.keep_params_nonnegative` is), and
`project` brings the initial parameters into its set.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from sae_jax.ops import geometry

Params = dict[str, Any]


class Constraint(NamedTuple):
    """A set of parameters: how to enter it, and how to stay in it."""

    project: Callable[[Params], Params]
    link: optax.GradientTransformation


def none() -> Constraint:
    """Lets every parameter go where it wants."""
    return Constraint(lambda params: params, optax.identity())


def unit_norm() -> Constraint:
    """Keeps each row of `w_dec` at norm 1.

    The part of an update that is parallel to its row is taken out (of Adam's *update*: a projected
    gradient is no longer tangent after Adam has divided its coordinates), and the moved row is
    scaled back to norm 1, after the step, so that what is saved has norm 1.
    """

    def project(params: Params) -> Params:
        return {**params, "w_dec": geometry.unit_rows(params["w_dec"])}

    def update(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        if params is None:
            raise ValueError("unit_norm needs the parameters: call update(updates, state, params)")
        rows = params["w_dec"]
        moved = geometry.unit_rows(rows + geometry.without_parallel(updates["w_dec"], rows))
        return {**updates, "w_dec": moved - rows}, state

    def init(params: Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    return Constraint(project, optax.GradientTransformation(init, update))
