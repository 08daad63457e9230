"""AbsTopK: the k pre-activations that are largest in absolute value, with their signs, and zeros.

  codes_i = pre_i if |pre_i| is among the k largest of its example, else 0

One latent stands for two opposite meanings (arXiv 2510.00404). It is the projection on the set of
codes with k entries, as hard thresholding in sparse coding is.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax.activations import topk


class AbsTopK(topk.TopK):
    """Keeps exactly k latents of each example, negative ones too; its fields are those of TopK."""

    def score(self, pre: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_sae"]:
        """Returns what is compared."""
        return jnp.abs(pre)


Activation = AbsTopK
