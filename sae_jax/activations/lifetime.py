"""Winner-take-all over the batch: each latent is active for its largest few examples only.

  codes_bi = max(pre_bi, 0) if pre_bi is among the share * batch largest of latent i, else 0

in training; `max(pre, 0)` when nothing is trained (FC-WTA, Makhzani & Frey, NIPS 2015, arXiv
1409.2752). As every latent wins some examples of every batch, none can die.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import schedule, select


class Lifetime(nn.Module):
    """ReLU, and in training each latent's largest examples of the batch alone.

    Attributes:
      share: of the batch for which each latent may be active, above 0 and at most 1; a number or a
        schedule. At least one example.
    """

    share: schedule.Number

    def __post_init__(self) -> None:
        """Refuses a share that cannot be."""
        if not callable(self.share) and not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: it must be above 0 and at most 1")
        super().__post_init__()

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns the winners of each column in their places, or all that is positive."""
        if not context.train:
            return jax.nn.relu(pre)
        batch = pre.shape[0]
        k = select.count(batch * schedule.value(self.share, context.step), batch)
        # Of pre and not of its ReLU, whose many zeros would all be equal.
        return jax.nn.relu(jnp.where(select.largest(pre, k, axis=0), pre, 0.0))


Activation = Lifetime
