"""What a code costs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import geometry, schedule, sparse


def l1(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns the sum of the absolute codes of each example: `sum_i |f_i|`.

    Meant for decoder rows of norm 1; where they are free, a model shrinks codes and grows rows, and
    the term measures nothing: use `l1_decoder_norm`.
    """
    del params, batch, context
    return jnp.abs(sparse.values(output.codes)).sum(axis=-1)


def l1_decoder_norm(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `sum_i |f_i| ||d_i||`, the same for any scale of the rows d_i of `w_dec`.

    (Anthropic, "Update on how we train SAEs", April 2024.) Of a model with several sites `||d_i||`
    is what it says itself: for `crosscoder` the sum of the norms at each.
    """
    del batch, context
    norms = sparse.of_latents(output.codes, geometry.decoder_norms(params, output))
    return (jnp.abs(sparse.values(output.codes)) * norms).sum(axis=-1)


def l1_target(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    target: float = 20.0,
    gain: float = 10.0,
    most: float = 10.0,
) -> Float[Array, " batch"]:
    """Returns `l1_decoder_norm` times `(L0 / target)^gain`, which has no gradient.

    L0 is the mean over the batch; the factor stays within 1/most to most. So the weight of the L1
    term finds itself, up to a factor: where `w` is the weight that would give the target, a weight
    `v` ends at L0 = target (w / v)^(1 / gain) or nearer. (SynthSAEBench, arXiv 2602.14687, tunes
    the weight while a run goes on, by an integral controller; this one is proportional.)

    Args:
      params: `w_dec` is read.
      batch: for the mask.
      output: its codes are read.
      context: not read.
      target: wanted mean number of active latents.
      gain: how sharply the weight answers.
      most: up to which factor.
    """
    mask = types.mask(batch)
    l0 = (sparse.active(output.codes) * mask).sum() / mask.sum()
    factor = jnp.clip((l0 / target) ** gain, 1 / most, most)
    return jax.lax.stop_gradient(factor) * l1_decoder_norm(params, batch, output, context)


def l1_designated(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    shared: float = 0.5,
) -> Float[Array, " batch"]:
    """Returns `l1_decoder_norm`, in which latents designated as shared cost less.

    For `crosscoder` (Mishra-Sharma et al. 2025, "Insights on Crosscoder Model Diffing").

    Args:
      params: `w_dec` is read, where the model does not say itself what `||d_i||` is.
      batch: not read.
      output: its codes and its extras "shared" and, if they are there, "decoder_norms" are read.
      context: not read.
      shared: what such a latent costs, as a share of what another does.
    """
    del batch, context
    if "shared" not in output.extras:
        raise errors.ConfigError(
            'it needs shared latents: set config.model.name="crosscoder" and config.model.shared'
        )
    price = jnp.where(output.extras["shared"] > 0, shared, 1.0)
    price = sparse.of_latents(output.codes, price * geometry.decoder_norms(params, output))
    return (jnp.abs(sparse.values(output.codes)) * price).sum(axis=-1)


def lp(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    p: schedule.Number = 0.5,
    keep_size: bool = True,
) -> Float[Array, " batch"]:
    """Returns `sum_i |f_i|^p`; with a p that falls from 1 it comes ever nearer to a count.

    (p-anneal, Karvonen et al. 2024, arXiv 2408.00113.) Below 1e-3 a code costs
    what lies on the straight line from 0 to there: nearer to 0 the slope would grow without bound.

    Args:
      params: not read.
      batch: for the mask.
      output: its codes are read.
      context: for the step, if p is a schedule.
      p: the exponent, above 0.
      keep_size: whether the term is scaled to the size that `l1` has on the same batch, by a number
        without a gradient, so that its weight need not change with p. (The paper follows the ratio
        of the sizes from one p to the next.)
    """
    del params
    sizes = jnp.abs(sparse.values(output.codes))
    power = schedule.value(p, context.step)
    floor = 1e-3
    above = jnp.maximum(sizes, floor) ** power
    below = sizes * floor ** (power - 1)
    total = jnp.where(sizes > floor, above, below).sum(axis=-1)
    if not keep_size:
        return total
    mask = types.mask(batch)
    l1_size, size = ((row * mask).sum() for row in (sizes.sum(axis=-1), total))
    return total * jax.lax.stop_gradient(jnp.where(size > 0, l1_size / size, 1.0))


def l2(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `sum_i f_i^2`; beside `l1` it makes the elastic net (Zou & Hastie 2005)."""
    del params, batch, context
    return (sparse.values(output.codes) ** 2).sum(axis=-1)


def kl(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    rho: float = 0.05,
) -> Float[Array, " batch"]:
    """Returns `sum_j KL(rho || rho_hat_j)`, in nats, the same number for every example.

    `KL = rho log(rho / rho_hat_j) + (1 - rho) log((1 - rho) / (1 - rho_hat_j))`; `rho_hat_j` is the
    mean activation of latent j over the whole batch (Ng 2011, CS294A notes, section 4). Codes
    must lie between 0 and 1: use it with the sigmoid.

    Args:
      params: not read.
      batch: for the mask.
      output: its codes are read.
      context: not read.
      rho: wanted mean activation, between 0 and 1.
    """
    del params, context
    mask = types.mask(batch)
    rho_hat = (sparse.dense(output.codes) * mask[:, None]).sum(axis=0) / mask.sum()
    rho_hat = jnp.clip(rho_hat, 1e-6, 1 - 1e-6)
    term = rho * jnp.log(rho / rho_hat) + (1 - rho) * jnp.log((1 - rho) / (1 - rho_hat))
    return jnp.broadcast_to(term.sum(), mask.shape)
