"""TopK: the k largest pre-activations of each example, and zeros.

  codes_i = pre_i if pre_i is among the k largest of its example, else 0

k-sparse autoencoders (Makhzani & Frey 2013, arXiv 1312.5663): the largest, not the largest in
absolute value; no non-linearity besides; tied weights; k falls from many to its end during the
first half of training, or some latents are never chosen; a few times more latents are kept when
features are taken, `alpha`. TopK (Gao et al. 2024, arXiv 2406.04093): a ReLU after it.
"""

from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sae_jax import errors, types
from sae_jax.ops import per_member, schedule, select, sharded, sparse


class TopK(nn.Module):
    """Keeps exactly k latents of each example; of equals, the first. Only they have a gradient.

    Attributes:
      k: how many, a number or a schedule; rounded, and never more than there are latents.
      alpha: when nothing is trained `alpha k` are kept; 1 or more.
      relu: whether a kept latent that is negative becomes 0, so that there may be fewer.
      form: of the codes; "sparse" needs a k whose largest value is known, as that of a number or of
        a schedule in a config is; "auto" chooses by the sizes.
    """

    k: schedule.Number
    alpha: int | float | per_member.PerMember = 1.0
    relu: bool = False
    form: Literal["auto", "dense", "sparse"] = "auto"

    def __post_init__(self) -> None:
        """Refuses a k and an alpha that cannot be."""
        if not callable(self.k) and self.k < 1:
            raise ValueError(f"k={self.k}: it must be 1 or more")
        if self.alpha < 1:
            raise ValueError(f"alpha={self.alpha}: it must be 1 or more")
        if self.form not in ("auto", "dense", "sparse"):
            raise ValueError(f'form="{self.form}": choose auto, dense or sparse')
        if self.form == "sparse" and schedule.most(self.k) is None:
            raise ValueError('form="sparse": how large k may become is not known of this schedule')
        super().__post_init__()

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns the k largest of each row in their places."""
        d_sae = pre.shape[-1]
        self._refuse_more_than(d_sae)
        k = self._count(context, d_sae)
        return self._rectified(jnp.where(select.largest(self.score(pre), k, axis=1), pre, 0.0))

    def choose(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Int[Array, "batch k"] | None:
        """Returns which are the k largest of each row, or None where the dense form is better."""
        d_sae = pre.shape[-1]
        k = self.max_active(d_sae, context.train)
        if k is None or (self.form == "auto" and not sparse.pays(k, d_sae)):
            return None
        return sharded.top_k(self.score(pre), k)[1]

    def max_active(self, d_sae: int, train: bool) -> int | None:
        """Returns how many latents are kept at most, or None: unknown, or the form is dense.

        An activation with this method keeps those of the largest `score`, each with its `value`,
        and they can be found a block of latents at a time.
        """
        most = schedule.most(self.k)
        if most is None or self.form == "dense":
            return None
        several = any(isinstance(n, per_member.PerMember) for n in (self.k, self.alpha))
        if several and not train:
            return None
        self._refuse_more_than(d_sae)
        return min(max(round(most if train else self.alpha * most), 1), d_sae)

    def score(self, pre: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_sae"]:
        """Returns what is compared."""
        return pre

    def value(
        self, chosen: Float[Array, "batch some"], context: types.Context
    ) -> Float[Array, "batch some"]:
        """Returns the codes of latents that were chosen, largest first, from what they were."""
        if callable(self.k) or isinstance(self.k, per_member.PerMember):
            # As many were chosen as are kept at any step, or by any member.
            place = jnp.arange(chosen.shape[1])[None]
            chosen = jnp.where(place < self._count(context, chosen.shape[1]), chosen, 0.0)
        return self._rectified(chosen)

    def _count(self, context: types.Context, limit: int) -> Int[Array, ""]:
        """Returns how many latents are kept now, of `limit` at most."""
        scale = 1.0 if context.train else self.alpha
        return select.count(scale * schedule.value(self.k, context.step), limit)

    def _rectified(self, kept: Float[Array, "batch some"]) -> Float[Array, "batch some"]:
        return jax.nn.relu(kept) if self.relu else kept

    def _refuse_more_than(self, d_sae: int) -> None:
        if not callable(self.k) and self.k > d_sae:
            raise errors.ConfigError(
                f"config.model.activation.k={self.k} of {d_sae} latents: choose a smaller k"
            )


Activation = TopK
