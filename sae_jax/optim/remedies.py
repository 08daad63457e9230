"""Remedies for dead latents that no gradient brings: applied after an optimiser step.

A remedy is `(params, opt_state, idle, batch, error, context)` to new `params`, `opt_state`
and `idle`. Remedies that are terms of the loss stand in `sae_jax/losses/dead.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sae_jax import errors, types
from sae_jax.ops import geometry

Params = dict[str, Any]
Remedied = tuple[Params, Any, Array]
Remedy = Callable[..., Remedied]


def resample(*, every: int, until: int, scale: float = 0.2) -> Remedy:
    """Makes dead latents anew from examples that are badly reconstructed.

      example n, chosen with a probability in proportion to ||x_n - x_hat_n||^4, no one twice
      d_i = u m_dec,  e_i = scale u m_enc,  b_enc_i = 0,   u = (x_n - b_dec) / ||x_n - b_dec||

    (Bricken et al. 2023, "Towards Monosemanticity": scale 0.2, four times in a run.) m_dec and
    m_enc are the mean norms of living rows and columns; a learned threshold becomes the mean of the
    living ones. The optimiser forgets all that it knows of these latents, all moments of all their
    parameters, and they count as active now. Examples are
    those of the step's batch; with more dead latents than examples, examples are used again.

    Args:
      every: so many steps between two resamplings.
      until: the last step after which there may be one.
      scale: of new encoder columns.
    """
    if every < 1 or until < 1 or scale <= 0:
        raise ValueError(f"every={every}, until={until}, scale={scale}: each must be above 0")

    def apply(
        params: Params,
        opt_state: Any,
        idle: Array,
        batch: types.Batch,
        error: Float[Array, " batch"],
        context: types.Context,
    ) -> Remedied:
        _refuse_other_models(params, batch.x.shape[1])
        dead = context.dead & (idle > 0)
        now = context.step + 1
        due = (now % every == 0) & (now <= until) & dead.any()

        def renewed() -> Remedied:
            new = _renewed(params, dead, _directions(params, batch.x, error, dead, context), scale)
            return new, _forgotten(params, opt_state, dead), jnp.where(dead, 0, idle)

        return lax.cond(due, renewed, lambda: (params, opt_state, idle))

    return apply


def _refuse_other_models(params: Params, d_in: int) -> None:
    """Raises where an example is not what an encoder column reads and a decoder row writes."""
    if lacking := {"w_enc", "b_enc", "w_dec"} - params.keys():
        raise errors.UserError(
            f"config.remedy: resample needs {', '.join(sorted(lacking))}, which this model has not"
        )
    layers = [
        name
        for name, group in params.items()
        if isinstance(group, Mapping) and not name.startswith("activation")
    ]
    if layers or (params["w_enc"].shape[0], params["w_dec"].shape[1]) != (d_in, d_in):
        raise errors.UserError(
            "config.remedy: resample makes latents of examples; it needs a model of one layer "
            "that reconstructs its input"
        )


def _directions(
    params: Params, x: Array, error: Array, dead: Bool[Array, " d_sae"], context: types.Context
) -> Float[Array, "d_sae d_in"]:
    """Returns for each dead latent the direction of an example of its own; others are ignored."""
    chance = jax.random.gumbel(jax.random.fold_in(context.key, 3), error.shape)
    order = jnp.argsort(-(2 * jnp.log(jnp.maximum(error, 1e-30)) + chance))
    place = (jnp.cumsum(dead) - 1) % len(order)
    return geometry.unit_rows((x - params["b_dec"][None])[order[place]])


def _renewed(params: Params, dead: Array, unit: Array, scale: float) -> Params:
    rows = unit * _mean_norm(params["w_dec"], dead)
    columns = scale * unit * _mean_norm(params["w_enc"].T, dead)
    new = {
        "w_dec": jnp.where(dead[:, None], rows, params["w_dec"]),
        "w_enc": jnp.where(dead[None], columns.T, params["w_enc"]),
        "b_enc": jnp.where(dead, 0.0, params["b_enc"]),
    }
    made: Params = {name: value.astype(params[name].dtype) for name, value in new.items()}
    for name, group in params.items():
        if isinstance(group, Mapping) and "threshold" in group:
            old = group["threshold"]
            living = (~dead).sum()
            mean = (old * ~dead).sum() / jnp.maximum(living, 1)
            made[name] = {**group, "threshold": jnp.where(dead & (living > 0), mean, old)}
    return {**params, **made}


def _mean_norm(rows: Array, dead: Array) -> Float[Array, ""]:
    """Returns the mean norm of the rows of living latents; 1 if there is none."""
    living = (~dead).sum()
    mean = (geometry.norms(rows)[:, 0] * ~dead).sum() / jnp.maximum(living, 1)
    return jnp.where(living > 0, mean, 1.0)


def _forgotten(params: Params, opt_state: Any, dead: Array) -> Any:
    """Returns the optimiser's state with nothing in it of dead latents.

    Whatever lies under the name of a parameter, in its shape, is a moment of it.
    """
    which = {"w_dec": dead[:, None], "w_enc": dead[None], "b_enc": dead, "threshold": dead}
    shapes = {name: params[name].shape for name in which if name in params}
    shapes["threshold"] = dead.shape

    def forget(path: tuple[Any, ...], moment: Any) -> Any:
        name = getattr(path[-1], "key", None) if path else None
        if name not in which or moment.shape != shapes[name]:
            return moment
        return jnp.where(which[name], jnp.zeros_like(moment), moment)

    return jax.tree_util.tree_map_with_path(forget, opt_state)
