"""GroupMax: latents stand in k groups of equal size, and of each the largest is kept.

  codes_i = max(pre_i, 0) if pre_i is the largest of its group, else 0

So many are active in each example as with TopK, but no sort or search over the whole dictionary is
needed, and latents of a group exclude each other (groups are `d_sae / k` neighbours).
"""

from flax import linen as nn
import jax
from jaxtyping import Array, Float, Int

from sae_jax import errors, types
from sae_jax.ops import sharded, sparse


class GroupMax(nn.Module):
    """Keeps the largest latent of each group; of equals, the first.

    Attributes:
      k: number of groups; d_sae is a multiple of it.
    """

    k: int

    def __post_init__(self) -> None:
        """Refuses a number of groups that cannot be."""
        if self.k < 1:
            raise ValueError(f"k={self.k}: it must be 1 or more")
        super().__post_init__()

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns the largest of each group in their places."""
        indices = self._largest(pre)
        chosen = self.value(sparse.take(pre, indices), context)
        return sparse.dense(types.Codes(chosen, indices, pre.shape[-1]))

    def choose(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Int[Array, "batch k"] | None:
        """Returns which are the largest of each group, or None where the dense form is better."""
        del context
        return self._largest(pre) if sparse.pays(self.k, pre.shape[-1]) else None

    def value(
        self, chosen: Float[Array, "batch some"], context: types.Context
    ) -> Float[Array, "batch some"]:
        """Returns the codes of latents that are kept, from their pre-activations."""
        del context
        return jax.nn.relu(chosen)

    def _largest(self, pre: Array) -> Array:
        d_sae = pre.shape[-1]
        if d_sae % self.k:
            raise errors.ConfigError(
                f"config.model.activation.k={self.k} groups of {d_sae} latents: choose a k that "
                "divides them"
            )
        return sharded.largest_of_groups(pre, self.k)


Activation = GroupMax
