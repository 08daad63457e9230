"""One optimiser step, as a pure function of (state, batch)."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn, struct
import jax
import jax.numpy as jnp
import optax

from sae_jax import errors, types
from sae_jax.models import base
from sae_jax.ops import corrupt, normalise, scale as scales, schedule
from sae_jax.optim import averages, blocks, parameters, remedies
from sae_jax.train import parts

PyTree = Any
Metrics = dict[str, jax.Array]


@struct.dataclass
class State:
    """All that a run must save to go on as if it had never stopped.

    Attributes:
      step: int32 `[]`, optimiser steps taken.
      key: typed PRNG key `[]`; never changes, step t uses `fold_in(key, t)`.
      params: what gradients move.
      stats: what a model carries on besides, e.g. a running threshold.
      normaliser: what the input normaliser knows of the data.
      opt_state: of the optax chain.
      idle: int32 `[d_sae]`, examples since each latent was last active, at most `dead_after`.
    """

    step: jax.Array
    key: jax.Array
    params: PyTree
    stats: PyTree
    normaliser: dict[str, jax.Array]
    opt_state: PyTree
    idle: jax.Array


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
      of: `(params, batch, output, context) -> [batch]`, unweighted, per example; one that takes
        `model` by keyword is given a `types.Bound`.
      weight: a number or a schedule.
    """

    of: Callable[..., jax.Array]
    weight: schedule.Number


@dataclasses.dataclass(frozen=True)
class Method:
    """What is trained and how: everything a step needs besides its state and its batch.

    Attributes:
      model: architecture and activation.
      terms: of the loss, by name.
      optimizer: an optax chain; its last link keeps the constraint.
      project: brings initial parameters into the constraint's set.
      learning_rate: what the optimiser uses, to be reported.
      normaliser: the scale in which the model sees its data.
      dead_after: a latent is dead when it was active for none of so many examples.
      corruption: what is done to examples before a training step sees them.
      remedy: what is done for dead latents after a step, if anything is.
      parts: into how many a batch is cut, to need less memory.
      latent_axes: the axis of each parameter that counts latents, where large ones may be moved a
        block of latents at a time; empty: they are moved at once.
      factored: whether gradients of the largest matrices are kept as factors: on one device, as of
        several each would have to know the others' examples, and on CPUs, as elsewhere the loops
        that add factors up would wait for the host.
      stored: the type of matrices of parameters while they are trained.
    """

    model: nn.Module
    terms: Mapping[str, Term]
    optimizer: optax.GradientTransformation | blocks.Separable
    project: Callable[[PyTree], PyTree]
    learning_rate: schedule.Number
    normaliser: normalise.Normaliser
    dead_after: int
    corruption: corrupt.Corruption = corrupt.Corruption()
    remedy: remedies.Remedy | None = None
    parts: int = 1
    latent_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    factored: bool = False
    stored: parameters.Kind = "float32"


def init(method: Method, seed: jax.Array, normaliser: dict[str, jax.Array], x: jax.Array) -> State:
    """Returns the state before the first step.

    Args:
      method: what is trained.
      seed: int `[]`.
      normaliser: what `method.normaliser.fit` found.
      x: `[batch, d_in]`, examples for data-dependent initialisers, in the scale of the data.
    """
    init_key, key = jax.random.split(jax.random.key(seed))
    scale = method.normaliser.scale(normaliser, x)
    params, stats = base.init(method.model, init_key, scale.enter(x))
    params = parameters.stored(method.project(params), method.stored)
    codes = jax.eval_shape(
        lambda: base.forward(method.model, params, stats, x, _context_at_rest(key))[0].codes
    )
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        stats=stats,
        normaliser=normaliser,
        opt_state=method.optimizer.init(params),
        idle=jnp.zeros(codes.shape[-1], jnp.int32),
    )


def make(method: Method) -> Callable[[State, types.Batch], tuple[State, Metrics]]:
    """Builds `step(state, batch) -> (state, metrics)`; metrics are of the state before the step."""

    def step(state: State, batch: types.Batch) -> tuple[State, Metrics]:
        context = types.Context(
            step=state.step,
            key=jax.random.fold_in(state.key, state.step),
            dead=state.idle >= method.dead_after,
            train=True,
        )
        batch = method.corruption(_noise_keys(context.key, batch.size), batch)
        scaled, _ = to_model_scale(method, state.normaliser, batch)
        loss, axes = functools.partial(_loss, method), method.latent_axes
        factored = blocks.factored(method.optimizer, state.params, axes) if method.factored else {}
        grads, stats, found = parts.gradient(
            loss, state.params, state.stats, scaled, context, method.parts, factored
        )
        grads = blocks.written(grads, axes)
        norm = blocks.norm(grads, axes)
        params, opt_state = blocks.moved(
            method.optimizer, grads, norm, state.opt_state, state.params, axes
        )
        seen = types.mask(batch).sum().astype(jnp.int32)
        idle = jnp.where(found.active > 0, 0, jnp.minimum(state.idle + seen, method.dead_after))
        metrics = {"loss": found.loss}
        metrics |= {f"loss/{name}": term for name, term in found.terms.items()}
        metrics |= _health(scaled, found, context, norm)
        metrics["learning_rate"] = schedule.value(method.learning_rate, state.step)
        if method.remedy is not None:
            params, opt_state, idle = method.remedy(
                params, opt_state, idle, scaled, found.error, context
            )
        moved = dict(params=params, stats=stats, opt_state=opt_state, idle=idle)
        return dataclasses.replace(state, step=state.step + 1, **moved), metrics

    return step


def at_rest(method: Method, state: State) -> State:
    """Returns the state with the parameters that are evaluated, and nothing of the optimiser.

    They are those that are trained, in float32, unless the optimiser keeps an average of them.
    """
    params = averages.at_rest(state.opt_state, state.params)
    params = state.params if params is None else method.project(params)
    if method.stored != "float32":
        params = parameters.float32(params)
    return dataclasses.replace(state, params=params, opt_state=())


def reconstruct(method: Method, state: State, batch: types.Batch) -> types.Output:
    """Returns the output of a trained model in the scale of the data; changes nothing."""
    context = dataclasses.replace(_context_at_rest(state.key), step=state.step)
    scaled, scale = to_model_scale(method, state.normaliser, batch)
    output, _ = base.forward(method.model, state.params, state.stats, scaled.x, context)
    return dataclasses.replace(output, x_hat=scale.leave(output.x_hat))


def bind(method: Method, state: State) -> types.Bound:
    """Returns a trained model that may be called with examples in the scale of the data."""
    context = dataclasses.replace(_context_at_rest(state.key), step=state.step)

    def rescale(x: jax.Array) -> jax.Array:
        return method.normaliser.scale(state.normaliser, x).enter(x)

    return base.bind(method.model, state.params, state.stats, context, rescale)


def loss_terms(method: Method, state: State, batch: types.Batch) -> dict[str, jax.Array]:
    """Returns each term of the loss, unweighted, `[]`, for one batch."""
    dead = state.idle >= method.dead_after
    context = dataclasses.replace(_context_at_rest(state.key), step=state.step, dead=dead)
    scaled, _ = to_model_scale(method, state.normaliser, batch)
    _, (_, _, terms) = _loss(method, state.params, state.stats, scaled, context)
    return terms


def to_model_scale(
    method: Method, normaliser: dict[str, jax.Array], batch: types.Batch
) -> tuple[types.Batch, scales.Scale]:
    """Returns the batch as the model sees it, and the scale it was brought to."""
    scale = method.normaliser.scale(normaliser, batch.x)
    y = None if batch.y is None else scale.enter(batch.y)
    return dataclasses.replace(batch, x=scale.enter(batch.x), y=y), scale


def _loss(
    method: Method, params: PyTree, stats: PyTree, batch: types.Batch, context: types.Context
) -> tuple[jax.Array, tuple[types.Output, PyTree, dict[str, jax.Array]]]:
    """Returns the loss of one batch in the model's scale, and what it was made of."""
    output, stats = base.forward(method.model, params, stats, batch.x, context)
    mask = types.mask(batch)
    bound = base.bind(method.model, params, stats, context)
    terms = {}
    for name, term in method.terms.items():
        try:
            values = base.supply(term.of, bound)(params, batch, output, context)
        except errors.ConfigError as error:
            raise errors.ConfigError(f"config.loss.{name}: {error}") from error
        terms[name] = (values * mask).sum() / mask.sum()
    loss = jnp.asarray(0.0)
    for name, term in method.terms.items():
        loss = loss + schedule.value(term.weight, context.step) * terms[name]
    return loss, (output, stats, terms)


def _health(
    batch: types.Batch, found: parts.Found, context: types.Context, grad_norm: jax.Array
) -> Metrics:
    """Returns the numbers to watch while a run goes on, each over one batch."""
    rows = types.mask(batch).sum()
    return {
        "fvu": found.error.sum() / (types.variance(batch) * rows),
        "l0": found.l0 / rows,
        "dead": context.dead.mean(dtype=jnp.float32),
        "grad_norm": grad_norm,
    }


def _noise_keys(key: jax.Array, rows: int) -> jax.Array:
    """Returns a key for each row, apart from those that a model draws from the step's key."""
    return jax.random.split(jax.random.fold_in(key, 1), rows)


def _context_at_rest(key: jax.Array) -> types.Context:
    """Returns the context of a forward pass that is no step of training."""
    return types.Context(step=jnp.zeros((), jnp.int32), key=key, dead=jnp.zeros((), bool))
