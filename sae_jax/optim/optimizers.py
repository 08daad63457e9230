"""Optimisers by name: optax chains that clip first, step, and keep a constraint last.

Each takes the learning rate as a schedule, its own knobs by keyword, and three that all share:
`clip_norm`, the largest norm of the whole gradient (0: any), `average`, the decay of an average of
the parameters, which is what is evaluated (0: none), and `constraint`.
"""

from typing import Literal

import jax.numpy as jnp
import optax
from optax import contrib

from sae_jax.ops import schedule
from sae_jax.optim import averages, blocks, moments as few_bits, parameters as stores

_FREE = optax.identity()


def adam(
    learning_rate: schedule.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    moments: Literal["float32", "bfloat16", "int8"] = "float32",
    parameters: stores.Kind = "float32",
    clip_norm: float = 0.0,
    average: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> blocks.Separable:
    """Adam (Kingma & Ba 2015); with `weight_decay` AdamW (Loshchilov & Hutter 2019).

    Both moments are kept as `moments` says: for each number of a parameter 8, 4 or 2 bytes
    (`sae_jax/optim/moments.py`); and matrices themselves as `parameters` says, in 4 or 2
    (`sae_jax/optim/parameters.py`).
    """
    if moments != "float32":
        step = optax.chain(
            few_bits.scale_by_adam(b1, b2, eps, moments),
            optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
            optax.scale_by_learning_rate(learning_rate),
        )
    elif weight_decay:
        step = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    else:
        step = optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    return _separable(clip_norm, step, constraint, average, parameters)


def adafactor(
    learning_rate: schedule.Schedule,
    *,
    decay: float = 0.8,
    momentum: float = 0.0,
    relative: bool = False,
    threshold: float = 1.0,
    clip_norm: float = 0.0,
    average: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> optax.GradientTransformation:
    """Adafactor (Shazeer & Stern 2018, arXiv 1804.04235): of v only sums of rows and of columns.

      v_ij = R_i C_j / mean R,  R and C means of g^2 over a row and a column, t^-decay of them new

    Matrices both of whose sides are 128 or longer have no other second moment. An update's root
    mean square is brought down to `threshold`. There is no first moment unless `momentum` asks for
    one, kept in bfloat16. With `relative` a step is that share of the root mean square of the
    parameter, as in the paper; without, the learning rate is of the size of Adam's.
    """
    step = optax.adafactor(
        learning_rate,
        decay_rate=decay,
        momentum=momentum or None,
        dtype_momentum=jnp.bfloat16,
        multiply_by_parameter_scale=relative,
        clipping_threshold=threshold,
    )
    return _chain(clip_norm, step, constraint, average)


def sgd(
    learning_rate: schedule.Schedule,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    clip_norm: float = 0.0,
    average: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> blocks.Separable:
    """Gradient descent, with heavy-ball or Nesterov momentum."""
    step = optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov)
    return _separable(clip_norm, step, constraint, average)


def signum(
    learning_rate: schedule.Schedule,
    *,
    momentum: float = 0.9,
    clip_norm: float = 0.0,
    average: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> blocks.Separable:
    """The sign of the momentum alone (Bernstein et al. 2018, arXiv 1802.04434)."""
    step = optax.chain(optax.trace(momentum), optax.sign_sgd(learning_rate))
    return _separable(clip_norm, step, constraint, average)


def muon(
    learning_rate: schedule.Schedule,
    *,
    beta: float = 0.95,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    average: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> optax.GradientTransformation:
    """Momentum with orthogonal updates for matrices, Adam for all else (Jordan et al. 2024)."""
    step = contrib.muon(learning_rate, beta=beta, nesterov=nesterov, weight_decay=weight_decay)
    return _chain(clip_norm, step, constraint, average)


def schedule_free_adam(
    learning_rate: schedule.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    constraint: optax.GradientTransformation = _FREE,
) -> optax.GradientTransformation:
    """Adam with its own average in the place of a decay (Defazio et al. 2024, arXiv 2405.15682).

    Gradients are taken between the average and the fast parameters, and a constraint holds there;
    the average, brought into the constraint's set, is what is evaluated.
    """
    step = contrib.schedule_free_adamw(
        learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay
    )
    return _chain(clip_norm, step, constraint, 0.0)


def _chain(
    clip_norm: float,
    step: optax.GradientTransformation,
    constraint: optax.GradientTransformation,
    average: float,
    parameters: stores.Kind = "float32",
) -> optax.GradientTransformation:
    links = [step, constraint, *([averages.average(average)] if average else [])]
    return stores.stored_as(parameters, optax.chain(blocks.clip(clip_norm), *links))


def _separable(
    clip_norm: float,
    step: optax.GradientTransformation,
    constraint: optax.GradientTransformation,
    average: float,
    parameters: stores.Kind = "float32",
) -> blocks.Separable:
    """Returns a chain whose step moves each number by what is known of it alone."""
    whole = _chain(clip_norm, step, constraint, average, parameters)
    each = _chain(0.0, step, constraint, average, parameters)
    return blocks.Separable(whole.init, whole.update, each.update, clip_norm)
