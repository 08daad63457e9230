"""How strongly a code reacts to its input: penalties on the encoder's Jacobian.

All are in squared units of codes over inputs, both in the scale of the model, at the input that the
model was given (the corrupted one, if there is one), summed over latents and inputs.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors, types
from sae_jax.ops import jacobian as jacobians, rounding, schedule, sparse

_LAYER = {"w_enc", "b_enc", "w_dec", "b_dec"}
_NOISE, _SIGNS = 0x4E01, 0x4A02  # Apart from all else that is drawn from the key of a step.


def contractive(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    model: types.Bound,
) -> Float[Array, " batch"]:
    """Returns `||J||_F^2` of an encoder that is one layer of sigmoids, in closed form.

    `sum_i (h_i (1 - h_i))^2 sum_j W_ij^2` (Rifai et al. 2011, "Contractive Auto-Encoders", equation
    8): as cheap as the layer itself. Other encoders are refused: `jacobian` serves them all.
    """
    norms = _squared_norms(params, batch, output, context, model)
    return _slope(output.codes) ** 2 @ norms


def contractive_hessian(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    model: types.Bound,
    sigma: schedule.Number = 0.1,
    samples: int = 4,
) -> Float[Array, " batch"]:
    """Returns `E_e ||J(x) - J(x + e)||_F^2`, e normal, of an encoder that is one sigmoid layer.

    For small sigma it goes as sigma^2 times the squared norm of the Hessian; with `contractive` it
    makes the CAE+H (Rifai et al. 2011, "Higher Order Contractive Auto-Encoder", equation 4). In
    closed form `sum_i (s'_i(x) - s'_i(x + e))^2 sum_j W_ij^2` for each e, where s' = h (1 - h).

    Args:
      params: the encoder's matrix is read.
      batch: its input is read.
      output: its codes are read.
      context: its key is read.
      model: what encodes x + e.
      sigma: standard deviation of e, in units of the model's input.
      samples: how many e are drawn for each example.
    """
    norms = _squared_norms(params, batch, output, context, model)
    here, scale = _slope(output.codes), schedule.value(sigma, context.step)

    def change(key: jax.Array) -> jax.Array:
        there = model.encode(batch.x + scale * jax.random.normal(key, batch.x.shape))
        return (here - _slope(there)) ** 2 @ norms

    keys = jax.random.split(jax.random.fold_in(context.key, _NOISE), samples)
    return jax.lax.map(change, keys).mean(axis=0)


def jacobian(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    model: types.Bound,
    samples: int = 1,
) -> Float[Array, " batch"]:
    """Returns `||J||_F^2` of any encoder, from passes through it.

    Args:
      params: not read.
      batch: its input is read.
      output: its codes' shape is read.
      context: its key is read.
      model: what encodes.
      samples: of Hutchinson's estimate `||J^T v||^2`, v random signs for each example: unbiased, a
        backward pass each. 0: exact, from min(d_in, d_sae) passes.
    """
    del params
    if not samples:
        return jacobians.squared_norm(model.encode, batch.x)
    keys = jax.random.split(jax.random.fold_in(context.key, _SIGNS), samples)
    shape, dtype = output.codes.shape, sparse.values(output.codes).dtype
    signs = jax.vmap(lambda key: jax.random.rademacher(key, shape, dtype))(keys)
    return jacobians.estimate(model.encode, batch.x, signs)


def _slope(h: jax.Array) -> jax.Array:
    """Returns the derivative of the sigmoid where it is `h`."""
    return h * (1 - h)


def _squared_norms(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    model: types.Bound,
) -> jax.Array:
    """Returns `sum_j W_ij^2` `[d_sae]`; refuses an encoder that is not one layer of sigmoids."""
    shape = (batch.x.shape[-1], output.codes.shape[-1])
    if set(params) <= _LAYER and _is_sigmoid(model, shape[1], context):
        w_enc = params["w_enc"] if "w_enc" in params else params["w_dec"].T
        if w_enc.shape == shape:
            return (rounding.widened(w_enc) ** 2).sum(axis=0)
    raise errors.ConfigError(
        "it is for an encoder of one layer of sigmoids (sae, or mlp without hidden layers; "
        'model.activation.name="sigmoid"): for another use config.loss.jacobian'
    )


def _is_sigmoid(model: types.Bound, d_sae: int, context: types.Context) -> bool:
    """Returns whether the model's activation is the sigmoid: tried out while a step is traced."""
    with jax.ensure_compile_time_eval():
        at_rest = dataclasses.replace(
            context,
            step=jnp.zeros((), jnp.int32),
            key=jax.random.key(0),
            dead=jnp.zeros((), bool),
            train=False,
        )
        pre = jnp.linspace(-3.0, 3.0, 2 * d_sae).reshape(2, d_sae)
        try:
            found = model.call("activation", pre, at_rest)
        except ValueError:  # The model has none.
            return False
        if isinstance(found, jax.core.Tracer):  # It has parameters, or a running threshold.
            return False
        return bool(np.allclose(found, jax.nn.sigmoid(pre), atol=1e-6))
