"""What a code costs."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import geometry, sparse


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

    (Anthropic, "Update on how we train SAEs", April 2024.)
    """
    del batch, context
    norms = sparse.of_latents(output.codes, geometry.norms(params["w_dec"])[:, 0])
    return (jnp.abs(sparse.values(output.codes)) * norms).sum(axis=-1)


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
