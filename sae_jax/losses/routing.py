"""What keeps a router from sending all examples to few experts; for `switch`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import errors, types


def load_balance(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `N sum_i F_i P_i`, the same number for every example.

    Of N experts, F_i is the share of the batch that is sent to expert i, which has no gradient, and
    P_i the mean of its probability: 1 where both are even, N where one expert gets all. Mudide et
    al. 2024 (arXiv 2410.08201) after Switch Transformers (Fedus et al. 2021); its weight is 3 in
    the paper, beside an error divided by the variance, and 0.01 in the authors' code.
    """
    del params, context
    if "router" not in output.extras:
        raise errors.ConfigError('it needs a router: set config.model.name="switch"')
    p, mask = output.extras["router"], types.mask(batch)[:, None]
    sent = jax.nn.one_hot(p.argmax(axis=1), p.shape[1])
    share, mean = ((rows * mask).sum(axis=0) / mask.sum() for rows in (sent, p))
    return jnp.broadcast_to(p.shape[1] * (share * mean).sum(), (batch.size,))
