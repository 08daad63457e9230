"""Logistic sigmoid: latents between 0 and 1, the classical choice of sparse autoencoders."""

from flax import linen as nn
import jax
from jaxtyping import Array, Float

from sae_jax import types


class Sigmoid(nn.Module):
    """Squashes to the interval from 0 to 1; no latent is ever exactly 0."""

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns `1 / (1 + exp(-pre))`."""
        del context
        return jax.nn.sigmoid(pre)


Activation = Sigmoid
