"""What brings latents back that have long been silent."""

from collections.abc import Callable
import dataclasses

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import blocked, geometry, select, sharded, sparse

_MOST = 20.0  # Of a pre-activation that exp is taken of.


def auxk(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    k: int = 0,
    relu: bool = False,
    normalise: bool = True,
) -> Float[Array, " batch"]:
    """Returns how badly dead latents alone reconstruct what the living ones have left over.

      e     = target - x_hat, without a gradient
      e_hat = sum_j a_j d_j over the k largest pre-activations a_j of dead latents, without b_dec
      term  = ||e - e_hat||^2 / mean over the batch of ||e - mean e||^2

    (Gao et al. 2024, arXiv 2406.04093, A.2; weight 1/32 there.) The term is scaled by the share of
    the k slots that dead latents can fill, and 0 while none is dead. Pre-activations are compared
    as the activation compares them (times the norms of decoder rows, under `rescale`), but before a
    ReLU, after which a latent that is negative everywhere could never come back; and with their
    sign, also where the activation compares sizes (`abs_topk`).

    Args:
      params: `w_dec` is read.
      batch: target and mask are read.
      output: reconstruction and pre-activations are read.
      context: which latents are dead.
      k: how many dead latents help an example; 0 for half of d_in.
      relu: whether chosen pre-activations below 0 count as 0, as in the authors' code.
      normalise: whether the error is divided by the mean over the batch; SAELens leaves it as it
        is, and gives the term the weight 1 beside `mse_sum`.
    """
    w_dec, mask = geometry.decoder_rows(params, output), types.mask(batch)
    d_sae, d_in = w_dec.shape
    dead = jnp.broadcast_to(context.dead, (d_sae,))  # One for all where nothing is trained.
    k = min(k or d_in // 2 or 1, d_sae)
    error = lax.stop_gradient(batch.target - output.x_hat) * mask[:, None]
    rows = mask.sum()
    compared = output.extras.get("compared")
    spread = (((error - error.sum(axis=0)[None] / rows) * mask[:, None]) ** 2).sum() / rows

    def missed(found: Array) -> Array:
        share = jnp.minimum(dead.sum() / k, 1.0)
        scale = jnp.where(spread > 0, spread, 1.0) if normalise else 1.0
        return share * ((error - found) ** 2).sum(axis=-1) / scale

    def with_dead(w_dec: Array, pre: Array | types.Pre, turned: Array | None) -> Array:
        if isinstance(pre, types.Pre) and turned is not None:
            pre = dataclasses.replace(pre, w_enc=turned[0].T)
        return missed(_of_dead(pre, compared, dead, k, relu, w_dec))

    def without(w_dec: Array, pre: Array | types.Pre, turned: Array | None) -> Array:
        del w_dec, pre, turned
        return jnp.zeros_like(mask)

    helped = dead.any() & (spread > 0)
    if blocked.is_blocked(output.pre):
        score = blocked.scaled_by(compared)
        found = blocked.decoded_where(helped, output.pre, k, score, dead, _act(relu), w_dec)
        return jnp.where(helped, missed(found), 0.0)
    pre: Array | types.Pre = output.pre
    turned: Array | None = None
    if isinstance(pre, types.Pre):
        # Turned round, as sparse codes give its gradient: else the conditional would turn that; and
        # of another shape than w_dec, or it would make zeros for one and copy them for the other.
        turned = pre.w_enc.T[None]
        pre = dataclasses.replace(pre, w_enc=lax.stop_gradient(pre.w_enc))
    return lax.cond(helped, with_dead, without, w_dec, pre, turned)


def ghost(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns a number as large as the squared error, by which dead latents learn what is left.

      e     = target - x_hat, without a gradient
      e_hat = s sum_j exp(pre_j) d_j over dead latents, s such that ||e_hat|| = ||e|| / 2
      term  = ||e - e_hat||^2 ||e||^2 / ||e - e_hat||^2, of which s and the quotient are constants

    Ghost gradients (Jermyn & Templeton, Circuits Updates, January 2024), which their authors gave
    up within months: here for comparison with `auxk`. 0 while no latent is dead.

    Args:
      params: `w_dec` is read.
      batch: target and mask are read.
      output: reconstruction and pre-activations are read.
      context: which latents are dead.
    """
    error = lax.stop_gradient(batch.target - output.x_hat) * types.mask(batch)[:, None]
    tiny = 1e-6
    # Dead latents are far below 0, where exp has a slope and ReLU has none; above 0 it explodes.
    pre = jnp.minimum(sparse.all_of(output.pre), _MOST)
    found = jnp.where(context.dead[None], jnp.exp(pre), 0.0) @ geometry.decoder_rows(params, output)
    size = jnp.sqrt((error**2).sum(axis=-1))
    length = jnp.sqrt((lax.stop_gradient(found) ** 2).sum(axis=-1))
    found = found * (size / (2 * length + tiny))[:, None]
    missed = ((error - found) ** 2).sum(axis=-1)
    same = size**2 / (lax.stop_gradient(missed) + tiny)
    return jnp.where(context.dead.any(), same * missed, 0.0)


def _act(relu: bool) -> Callable[[Array], Array]:
    return jax.nn.relu if relu else lambda x: x


def _of_dead(
    pre: Array | types.Pre,
    compared: Array | None,
    dead: Array,
    k: int,
    relu: bool,
    w_dec: Array,
) -> Float[Array, "batch d"]:
    """Returns `sum_j a_j d_j` over the k dead latents of the largest `a_j compared_j`."""
    score = lax.stop_gradient(sparse.all_of(pre))
    score = score if compared is None else score * lax.stop_gradient(compared)[None]
    score = jnp.where(dead[None], score, -jnp.inf)
    act = _act(relu)
    if sparse.pays(k, len(dead)):
        indices = sharded.top_k(score, k)[1]
        chosen = act(sparse.take(pre, indices)) * dead[indices]
        return sparse.decode(chosen, indices, w_dec)
    kept = select.largest(score, jnp.asarray(k, jnp.int32), axis=1) & dead[None]
    return jnp.where(kept, act(sparse.all_of(pre)), 0.0) @ w_dec
