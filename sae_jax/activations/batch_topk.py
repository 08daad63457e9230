"""BatchTopK: the k largest pre-activations for each example on average, wherever they are.

  training  codes_bi = max(pre_bi, 0) if pre_bi is among the k * batch largest of the whole batch
  at rest   codes_bi = pre_bi if pre_bi > theta, else 0

(Bussmann et al. 2024, arXiv 2412.06410.) Theta is the mean, over training steps, of the smallest
code that was kept, recent steps weighing more. As that is the smallest of many, theta is a little
low and more than k latents are active at rest: calibrate it on held-out examples
(`sae_jax/train/calibrate.py`).
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import schedule, select


class BatchTopK(nn.Module):
    """Keeps exactly k latents an example on average over the batch; of equals, the first.

    Its stats are "sum" and "weight": theta is their quotient, so that the first batch counts
    whole and no start value is left in it.

    Attributes:
      k: how many on average, a number (3.5 is one) or a schedule.
      decay: what is left of a step's weight in theta after each later one, from 0 to below 1.
    """

    k: schedule.Number
    decay: float = 0.99

    def __post_init__(self) -> None:
        """Refuses a k and a decay that cannot be."""
        if not callable(self.k) and self.k <= 0:
            raise ValueError(f"k={self.k}: it must be above 0")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: it must be from 0 to below 1")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns what the batch keeps, or, at rest, what exceeds theta."""
        batch, d_sae = pre.shape
        if not callable(self.k) and self.k > d_sae:
            raise ValueError(f"k={self.k} of {d_sae} latents: choose a smaller k")
        total = self.variable("stats", "sum", jnp.zeros, ())
        weight = self.variable("stats", "weight", jnp.zeros, ())
        if not context.train:
            theta = total.value / jnp.maximum(weight.value, 1e-30)
            return jnp.where(pre > jnp.maximum(theta, 0.0), pre, 0.0)
        count = select.count(batch * schedule.value(self.k, context.step), batch * d_sae)
        kept = select.largest(pre, count, axis=None)
        codes = jax.nn.relu(jnp.where(kept, pre, 0.0))
        smallest = jnp.where(codes > 0, jax.lax.stop_gradient(codes), jnp.inf).min()
        share = jnp.where(jnp.isfinite(smallest), 1.0 - self.decay, 0.0)
        total.value += share * (jnp.where(share > 0, smallest, 0.0) - total.value)
        weight.value += share * (1.0 - weight.value)
        return codes

    def raised(self, stats: dict[str, Any], factor: float) -> dict[str, Any]:
        """Returns stats with which theta is `factor` times as high."""
        return {**stats, "sum": stats["sum"] * factor}


Activation = BatchTopK
