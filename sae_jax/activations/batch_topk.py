"""BatchTopK: the k largest pre-activations for each example on average, wherever they are.

  training  codes_bi = max(pre_bi, 0) if pre_bi is among the k * batch largest of the whole batch
  at rest   codes_bi = pre_bi if pre_bi > theta, else 0

(Bussmann et al. 2024, arXiv 2412.06410.) Theta is the mean, over training steps, of the smallest
code that was kept, recent steps weighing more. As that is the smallest of many, theta is a little
low and more than k latents are active at rest: calibrate it on held-out examples
(`sae_jax/train/calibrate.py`).
"""

from typing import Any, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sae_jax import errors, types
from sae_jax.ops import per_member, schedule, select, sharded, sparse

_MOST = 4  # Times k: latents of one example that the sparse form keeps.


class BatchTopK(nn.Module):
    """Keeps exactly k latents an example on average over the batch; of equals, the first.

    Its stats are "sum" and "weight": theta is their quotient, so that the first batch counts
    whole and no start value is left in it.

    Attributes:
      k: how many on average, a number (3.5 is one) or a schedule.
      decay: what is left of a step's weight in theta after each later one, from 0 to below 1.
      form: of the codes in training. "sparse" looks among the 4 k largest of each example, so that
        no example keeps more than 4 k (of a schedule, the largest k, which has to be known: that of
        one in a config is); "dense" looks everywhere; "auto" chooses by the sizes.
    """

    k: schedule.Number
    decay: float = 0.99
    form: Literal["auto", "dense", "sparse"] = "auto"

    def __post_init__(self) -> None:
        """Refuses a k and a decay that cannot be."""
        if not callable(self.k) and self.k <= 0:
            raise ValueError(f"k={self.k}: it must be above 0")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: it must be from 0 to below 1")
        if self.form not in ("auto", "dense", "sparse"):
            raise ValueError(f'form="{self.form}": choose auto, dense or sparse')
        if self.form == "sparse" and schedule.most(self.k) is None:
            raise ValueError('form="sparse": how large k may become is not known of this schedule')
        super().__post_init__()

    def setup(self) -> None:
        """Makes the stats."""
        self.total = self.variable("stats", "sum", jnp.zeros, ())
        self.weight = self.variable("stats", "weight", jnp.zeros, ())

    def __call__(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Float[Array, "batch d_sae"]:
        """Returns what the batch keeps, or, at rest, what exceeds theta."""
        self._refuse_more_than(pre.shape[1])
        if not context.train:
            theta = self.total.value / jnp.maximum(self.weight.value, 1e-30)
            return jnp.where(pre > jnp.maximum(theta, 0.0), pre, 0.0)
        return self._kept(pre, pre, context)

    def choose(
        self, pre: Float[Array, "batch d_sae"], context: types.Context
    ) -> Int[Array, "batch some"] | None:
        """Returns among which latents of each example those that are kept are, or None for all."""
        most = schedule.most(self.k)
        if most is None or self.form == "dense" or not context.train:
            return None
        d_sae = pre.shape[1]
        self._refuse_more_than(d_sae)
        k: Any = self.k if isinstance(self.k, per_member.PerMember) else most
        some = -(-_MOST * k // 1)  # Rounded up; members have to choose one form.
        if self.form == "auto" and not sparse.pays(some, d_sae):
            return None
        return sharded.top_k(pre, min(round(per_member.most(some)), d_sae))[1]

    def among(
        self,
        found: Float[Array, "batch some"],
        compared: Float[Array, "batch some"],
        context: types.Context,
    ) -> Float[Array, "batch some"]:
        """Returns the codes of what was chosen, zeros for what the batch does not keep."""
        if isinstance(self.k, per_member.PerMember):
            # As many were chosen as any member looks among.
            place = jnp.arange(compared.shape[1])[None]
            compared = jnp.where(place < _MOST * self.k, compared, -jnp.inf)
        return self._kept(found, compared, context)

    def _kept(self, pre: Array, compared: Array, context: types.Context) -> Array:
        compared = jax.lax.stop_gradient(compared)
        batch = pre.shape[0]
        count = select.count(batch * schedule.value(self.k, context.step), pre.size)
        kept = select.largest(compared, count, axis=None) & (compared > 0)
        smallest = jnp.where(kept, compared, jnp.inf).min()
        share = jnp.where(jnp.isfinite(smallest), 1.0 - self.decay, 0.0)
        self.total.value += share * (jnp.where(share > 0, smallest, 0.0) - self.total.value)
        self.weight.value += share * (1.0 - self.weight.value)
        return jax.nn.relu(jnp.where(kept, pre, 0.0))

    def _refuse_more_than(self, d_sae: int) -> None:
        if not callable(self.k) and self.k > d_sae:
            raise errors.ConfigError(
                f"config.model.activation.k={self.k} of {d_sae} latents: choose a smaller k"
            )

    def raised(self, stats: dict[str, Any], factor: float) -> dict[str, Any]:
        """Returns stats with which theta is `factor` times as high."""
        return {**stats, "sum": stats["sum"] * factor}


Activation = BatchTopK
