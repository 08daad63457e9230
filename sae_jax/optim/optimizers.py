"""Optimisers by name: optax chains that clip first, step, and keep a constraint last.

Each takes the learning rate as a schedule, its own knobs by keyword, and two that all share:
`clip_norm`, the largest norm of the whole gradient (0: any), and `constraint`, the last link.
"""

import optax

from sae_jax.ops import schedule

_FREE = optax.identity()


def adam(
    learning_rate: schedule.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015); with `weight_decay` AdamW (Loshchilov & Hutter 2019)."""
    if weight_decay:
        step = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    else:
        step = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    return optax.chain(_clip(clip_norm), step, constraint)


def sgd(
    learning_rate: schedule.Schedule,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    clip_norm: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> optax.GradientTransformation:
    """Gradient descent, with heavy-ball or Nesterov momentum."""
    step = optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov)
    return optax.chain(_clip(clip_norm), step, constraint)


def _clip(norm: float) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(norm) if norm else optax.identity()
