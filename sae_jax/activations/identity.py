"""The identity: with it an autoencoder is linear, and its optimum is PCA."""

from flax import linen as nn
from jaxtyping import Array, Float

from sae_jax import types


class Identity(nn.Module):
    """Changes nothing."""

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns `pre`."""
        del context
        return pre


Activation = Identity
