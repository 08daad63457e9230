"""JumpReLU: a latent is its pre-activation where that exceeds the latent's own threshold.

  codes_i = pre_i if pre_i > theta_i else 0

(Rajamanoharan et al. 2024, arXiv 2407.14435.) What moves the thresholds stands in
`sae_jax/ops/threshold.py`. They are learned as they are, not as logarithms, whose steps under Adam
would be relative ones; the optimiser's constraint keeps them from falling below 0. At rest they are
multiplied by a factor, 1 until it is calibrated (`sae_jax/train/calibrate.py`).
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import threshold


class JumpReLU(nn.Module):
    """Keeps what exceeds a threshold `[d_sae]`, a parameter.

    Attributes:
      start: of every threshold, 0 or more, in the units of the pre-activations.
      bandwidth: of the kernel that estimates gradients, in the same units.
      to_input: whether the estimate reaches the pre-activations too (Anthropic 2025), and with them
        the encoder, or the thresholds alone (DeepMind 2024).
    """

    start: float = 0.001
    bandwidth: float = 0.001
    to_input: bool = False

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be."""
        if self.start < 0:
            raise ValueError(f"start={self.start}: it must be 0 or more")
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth={self.bandwidth}: it must be above 0")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns `pre` where it exceeds its threshold, and zeros."""
        theta = self.param("threshold", nn.initializers.constant(self.start), pre.shape[-1:])
        factor = self.variable("stats", "factor", jnp.ones, ())
        theta = theta if context.train else theta * factor.value
        return threshold.jump(pre, theta, self.bandwidth, self.to_input)

    def margin(self, pre: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_sae"]:
        """Returns what is above 0 where a code, or what its gradient is, matters.

        That of one a little below its threshold moves the threshold.
        """
        theta: Array = self.get_variable("params", "threshold")
        return jax.nn.relu(pre - theta[None] + self.bandwidth / 2)

    def raised(self, stats: dict[str, Any], factor: float) -> dict[str, Any]:
        """Returns stats with which every threshold at rest is `factor` times as high."""
        return {**stats, "factor": stats["factor"] * factor}


Activation = JumpReLU
