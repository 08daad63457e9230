"""ProLU: a latent is its pre-activation where that exceeds a threshold, as with JumpReLU.

  codes_i = pre_i if pre_i > theta_i else 0

(Taggart 2024, "ProLU: A Nonlinearity for Sparse Autoencoders".) What moves the thresholds stands in
`sae_jax/ops/prolu.py`. In the paper -theta is the encoder's bias and there is no other: use
`encoder_bias=False`, or codes are shifted after all.
"""

from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import prolu


class ProLU(nn.Module):
    """Keeps what exceeds a threshold `[d_sae]`, a parameter that starts at 0.

    Attributes:
      gradient: of thresholds and pre-activations: "relu", or "ste".
    """

    gradient: Literal["relu", "ste"] = "ste"

    def __post_init__(self) -> None:
        """Refuses a word that names no gradient."""
        if self.gradient not in ("relu", "ste"):
            raise ValueError(f'gradient="{self.gradient}": choose relu or ste')
        super().__post_init__()

    @nn.compact
    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns `pre` where it exceeds its threshold, and zeros."""
        del context
        theta = self.param("threshold", nn.initializers.zeros, pre.shape[-1:])
        return prolu.prolu(pre, theta, self.gradient == "ste")


Activation = ProLU
