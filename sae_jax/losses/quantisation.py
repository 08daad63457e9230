"""What keeps an encoder and a codebook together; for `vq`.

Squared distances are summed over the width of an entry and averaged over the places of an example,
one term for each place (van den Oord et al. 2017, arXiv:1711.00937, section 3.2).
"""

import jax
from jaxtyping import Array, Float

from sae_jax import errors, types


def codebook(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `||sg(z_e) - e||^2`: moves entries to the vectors that fall to them.

    In squared units of the codebook; sg stops the gradient. Leave it out with `update="average"`.
    """
    del params, batch, context
    extras = _extras(output)
    return _distance(jax.lax.stop_gradient(extras["encoded"]), extras["quantised"])


def commitment(
    params: types.PyTree, batch: types.Batch, output: types.Output, context: types.Context
) -> Float[Array, " batch"]:
    """Returns `||z_e - sg(e)||^2`: keeps the encoder near the entries it is given.

    In squared units of the codebook; sg stops the gradient. The paper's weight is 0.25.
    """
    del params, batch, context
    extras = _extras(output)
    return _distance(extras["encoded"], jax.lax.stop_gradient(extras["quantised"]))


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return ((a - b) ** 2).sum(axis=-1).mean(axis=-1)


def _extras(output: types.Output) -> dict[str, jax.Array]:
    if "quantised" not in output.extras:
        raise errors.ConfigError('it needs a codebook: set config.model.name="vq"')
    return output.extras
