"""What JumpReLU's thresholds are trained by: counts of active latents, and smooth ones of them.

The thresholds are `params["activation"]["threshold"]`. Gradients of counts are those of
`sae_jax/ops/threshold.py`; a bandwidth is in the units of the pre-activations.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types
from sae_jax.ops import geometry, sparse, threshold


def l0(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    bandwidth: float = 0.001,
    to_input: bool = False,
) -> Float[Array, " batch"]:
    """Returns the number of active latents of each example, `sum_i H(pre_i - theta_i)`.

    (Rajamanoharan et al. 2024, arXiv 2407.14435.)

    Args:
      params: the thresholds are read.
      batch: not read.
      output: its pre-activations are read.
      context: not read.
      bandwidth: of the kernel that estimates gradients.
      to_input: whether pre-activations have a gradient too.
    """
    del batch, context
    return threshold.count(sparse.compared(output), _thresholds(params), bandwidth, to_input)


def l0_target(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    target: float = 20.0,
    bandwidth: float = 0.001,
    to_input: bool = False,
) -> Float[Array, " batch"]:
    """Returns `(L0 / target - 1)^2`, the same number for every example.

    L0 is the mean over the batch: of single examples the term would punish that some have more to
    say than others. (GDM, "Progress update", 2024; as in Gemma Scope 2 up to a factor of `target`.)

    Args:
      params: the thresholds are read.
      batch: for the mask.
      output: its pre-activations are read.
      context: not read.
      target: wanted mean number of active latents.
      bandwidth: of the kernel that estimates gradients.
      to_input: whether pre-activations have a gradient too.
    """
    del context
    mask = types.mask(batch)
    seen = sparse.compared(output)
    counts = threshold.count(seen, _thresholds(params), bandwidth, to_input)
    mean = (counts * mask).sum() / mask.sum()
    return jnp.broadcast_to((mean / target - 1) ** 2, mask.shape)


def frequency(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    limit: float = 0.1,
    bandwidth: float = 0.001,
    to_input: bool = False,
) -> Float[Array, " batch"]:
    """Returns `sum_i max(share_i - limit, 0)`, the same number for every example.

    share_i is the share of the batch in which latent i is active: latents that are active in more
    than `limit` of it cost what they exceed it by. Gemma Scope 2 (McDougall et al. 2025) trains
    with a penalty on such latents beside `l0_target`; this form of it is the simplest.

    Args:
      params: the thresholds are read.
      batch: for the mask.
      output: its pre-activations are read.
      context: not read.
      limit: how large a share costs nothing, from 0 to 1.
      bandwidth: of the kernel that estimates gradients.
      to_input: whether pre-activations have a gradient too.
    """
    del context
    mask = types.mask(batch)
    above = threshold.step(sparse.compared(output), _thresholds(params), bandwidth, to_input)
    share = (above * mask[:, None]).sum(axis=0) / mask.sum()
    return jnp.broadcast_to(jax.nn.relu(share - limit).sum(), mask.shape)


def tanh(
    params: types.PyTree,
    batch: types.Batch,
    output: types.Output,
    context: types.Context,
    *,
    c: float = 4.0,
) -> Float[Array, " batch"]:
    """Returns `sum_i tanh(c |f_i| ||d_i||)`, a smooth count (Anthropic, January 2025).

    Args:
      params: `w_dec` is read, where the model does not say itself what `||d_i||` is.
      batch: not read.
      output: its codes are read, and its extras "decoder_norms" if they are there.
      context: not read.
      c: how large a code counts as one, in inverse units of the input.
    """
    del batch, context
    norms = sparse.of_latents(output.codes, geometry.decoder_norms(params, output))
    return jnp.tanh(c * jnp.abs(sparse.values(output.codes)) * norms).sum(axis=-1)


def pre_activation(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `sum_i max(theta_i - pre_i, 0) ||d_i||`, which pulls silent latents up to theirs.

    (Anthropic, January 2025: weight 3e-6 where inputs have mean square norm d_in.)
    """
    del batch, context
    short = jax.nn.relu(_thresholds(params)[None] - sparse.compared(output))
    if "compared" in output.extras:  # Thresholds are of what latents write already.
        return short.sum(axis=-1)
    return (short * geometry.decoder_norms(params, output)[None]).sum(axis=-1)


def _thresholds(params: types.PyTree) -> Array:
    if "threshold" not in params.get("activation", {}):
        raise errors.ConfigError(
            "it counts latents above thresholds, but none are learned: set "
            'config.model.activation.name="jumprelu"'
        )
    return params["activation"]["threshold"]
