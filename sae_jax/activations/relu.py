"""ReLU: a latent is active where its pre-activation is positive."""

from flax import linen as nn
import jax
from jaxtyping import Array, Float

from sae_jax import types


class ReLU(nn.Module):
    """Keeps what is positive."""

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns `max(pre, 0)`."""
        del context
        return jax.nn.relu(pre)

    def margin(self, pre: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_sae"]:
        """Returns what is above 0 where a code, or what its gradient is, matters."""
        return jax.nn.relu(pre)


Activation = ReLU
