"""One optimiser step, as a pure function of (state, batch)."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import linen as nn, struct
import jax
import jax.numpy as jnp
import optax

from sae_jax import types
from sae_jax.models import base
from sae_jax.ops import corrupt, normalise, schedule, sparse

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
    """

    model: nn.Module
    terms: Mapping[str, Term]
    optimizer: optax.GradientTransformation
    project: Callable[[PyTree], PyTree]
    learning_rate: schedule.Number
    normaliser: normalise.Normaliser
    dead_after: int
    corruption: corrupt.Corruption = corrupt.Corruption()


def init(method: Method, seed: jax.Array, normaliser: dict[str, jax.Array], x: jax.Array) -> State:
    """Returns the state before the first step.

    Args:
      method: what is trained.
      seed: int `[]`.
      normaliser: what `method.normaliser.fit` found.
      x: `[batch, d_in]`, examples for data-dependent initialisers, in the scale of the data.
    """
    init_key, key = jax.random.split(jax.random.key(seed))
    shift, scale = method.normaliser.affine(normaliser, x)
    params, stats = base.init(method.model, init_key, (x - shift) * scale)
    params = method.project(params)
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
        (loss, aux), grads = jax.value_and_grad(_loss, argnums=1, has_aux=True)(
            method, state.params, state.stats, scaled, context
        )
        output, stats, terms = aux
        updates, opt_state = method.optimizer.update(grads, state.opt_state, state.params)
        metrics = {"loss": loss} | {f"loss/{name}": term for name, term in terms.items()}
        metrics |= _health(scaled, output, context, grads)
        metrics["learning_rate"] = schedule.value(method.learning_rate, state.step)
        active = sparse.ever_active(output.codes, types.mask(batch)) > 0
        seen = types.mask(batch).sum().astype(jnp.int32)
        idle = jnp.where(active, 0, jnp.minimum(state.idle + seen, method.dead_after))
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            stats=stats,
            opt_state=opt_state,
            idle=idle,
        )
        return state, metrics

    return step


def reconstruct(method: Method, state: State, batch: types.Batch) -> types.Output:
    """Returns the output of a trained model in the scale of the data; changes nothing."""
    context = dataclasses.replace(_context_at_rest(state.key), step=state.step)
    scaled, (shift, scale) = to_model_scale(method, state.normaliser, batch)
    output, _ = base.forward(method.model, state.params, state.stats, scaled.x, context)
    return dataclasses.replace(output, x_hat=output.x_hat / scale + shift)


def bind(method: Method, state: State) -> types.Bound:
    """Returns a trained model that may be called with examples in the scale of the data."""
    context = dataclasses.replace(_context_at_rest(state.key), step=state.step)

    def rescale(x: jax.Array) -> jax.Array:
        shift, scale = method.normaliser.affine(state.normaliser, x)
        return (x - shift) * scale

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
) -> tuple[types.Batch, normalise.Affine]:
    """Returns the batch as the model sees it, and the shift and scale that were applied."""
    shift, scale = method.normaliser.affine(normaliser, batch.x)
    y = None if batch.y is None else (batch.y - shift) * scale
    return dataclasses.replace(batch, x=(batch.x - shift) * scale, y=y), (shift, scale)


def _loss(
    method: Method, params: PyTree, stats: PyTree, batch: types.Batch, context: types.Context
) -> tuple[jax.Array, tuple[types.Output, PyTree, dict[str, jax.Array]]]:
    """Returns the loss of one batch in the model's scale, and what it was made of."""
    output, stats = base.forward(method.model, params, stats, batch.x, context)
    mask = types.mask(batch)
    bound = base.bind(method.model, params, stats, context)
    terms = {
        name: (base.supply(term.of, bound)(params, batch, output, context) * mask).sum()
        / mask.sum()
        for name, term in method.terms.items()
    }
    loss = jnp.asarray(0.0)
    for name, term in method.terms.items():
        loss = loss + schedule.value(term.weight, context.step) * terms[name]
    return loss, (output, stats, terms)


def _health(
    batch: types.Batch, output: types.Output, context: types.Context, grads: PyTree
) -> Metrics:
    """Returns the numbers to watch while a run goes on, each over one batch."""
    mask = types.mask(batch)[:, None]
    rows = mask.sum()
    mean = (batch.target * mask).sum(axis=0, keepdims=True) / rows
    offset = (batch.target - mean) * mask
    residual = (batch.target - output.x_hat) * mask
    return {
        "fvu": (residual**2).sum() / (offset**2).sum(),
        "l0": (sparse.active(output.codes) * types.mask(batch)).sum() / rows,
        "dead": context.dead.mean(dtype=jnp.float32),
        "grad_norm": optax.tree.norm(grads),
    }


def _noise_keys(key: jax.Array, rows: int) -> jax.Array:
    """Returns a key for each row, apart from those that a model draws from the step's key."""
    return jax.random.split(jax.random.fold_in(key, 1), rows)


def _context_at_rest(key: jax.Array) -> types.Context:
    """Returns the context of a forward pass that is no step of training."""
    return types.Context(step=jnp.zeros((), jnp.int32), key=key, dead=jnp.zeros((), bool))
