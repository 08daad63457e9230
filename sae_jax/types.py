"""The containers that cross `jit`: what goes into a model and what comes out."""

from collections.abc import Callable
import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp

PyTree = Any


@flax.struct.dataclass
class Batch:
    """Examples, with what is known of each.

    Attributes:
      x: `[batch, ...]`, the input.
      y: `[batch, ...]`, what to reconstruct; None says `x` itself.
      mask: `[batch]`, 1 for an example and 0 for padding; None says that every row is an example.
      label: `[batch]` int32, a class that no model sees; probes and figures use it. Or None.
      truth: `[batch, n_features]`, the codes that made x, where that is known; no model sees it.
      variance: `[]`, of the whole batch that these rows are a part of; None: they are all of it.
    """

    x: jax.Array
    y: jax.Array | None = None
    mask: jax.Array | None = None
    label: jax.Array | None = None
    truth: jax.Array | None = None
    variance: jax.Array | None = None

    @property
    def target(self) -> jax.Array:
        """`[batch, ...]`, what the model is to reconstruct."""
        return self.x if self.y is None else self.y

    @property
    def size(self) -> int:
        """Rows, padding included."""
        return self.x.shape[0]


@flax.struct.dataclass
class Context:
    """What a forward pass may know besides parameters and data.

    Attributes:
      step: int32 `[]`, optimiser steps taken so far; schedules read it.
      key: typed PRNG key `[]`, different at each step.
      dead: bool `[d_sae]`, the latents that have not been active for `dead_after` examples.
      train: whether the pass belongs to a training step.
    """

    step: jax.Array
    key: jax.Array
    dead: jax.Array
    train: bool = flax.struct.field(pytree_node=False, default=False)


@flax.struct.dataclass
class Codes:
    """Codes of which at most k latents are active in an example: the sparse form of a dense array.

    Attributes:
      values: `[batch, k]`; a latent whose value is 0 is not active.
      indices: int32 `[batch, k]`, which latents they are; in a row each occurs once.
      width: number of latents, d_sae.
    """

    values: jax.Array
    indices: jax.Array
    width: int = flax.struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, int]:
        """`(batch, d_sae)`, as of the dense form."""
        return (self.values.shape[0], self.width)


@flax.struct.dataclass
class Few:
    """Which latents count in each example, if they turn out to be few (`sae_jax/ops/few.py`).

    Attributes:
      fits: bool `[]`, whether they are few; all else means something only then.
      indices: int32 `[batch, most]`, latents, each once; those that count come first.
      counts: float32 `[batch, most]`, 1 for those that count.
    """

    fits: jax.Array
    indices: jax.Array
    counts: jax.Array


@flax.struct.dataclass
class Pre:
    """Pre-activations `(x - centre) w_enc + b_enc`, with what they were made of.

    So that a few of them can be taken with a gradient that reaches only their own weights.

    Attributes:
      dense: `[batch, d_sae]`, all of them; its gradient is that of the matrix product. None where
        there are never all of them at once, but blocks of latents one after the other.
      x: `[batch, d_in]`.
      centre: `[d_in]`.
      w_enc: `[d_in, d_sae]`.
      b_enc: `[d_sae]`.
      blocks: how many blocks there are then.
      compute: the type to which the operands of products are rounded.
      few: which latents count, where that was looked for; None: any may.
    """

    dense: jax.Array | None
    x: jax.Array
    centre: jax.Array
    w_enc: jax.Array
    b_enc: jax.Array
    blocks: int = flax.struct.field(pytree_node=False, default=1)
    compute: Literal["float32", "bfloat16"] = flax.struct.field(
        pytree_node=False, default="float32"
    )
    few: Few | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """`(batch, d_sae)`."""
        return (self.x.shape[0], self.w_enc.shape[1])


@flax.struct.dataclass
class Output:
    """All that loss terms, metrics and figures need from one forward pass.

    Attributes:
      x_hat: `[batch, ...]`, the reconstruction of the target.
      codes: `[batch, d_sae]`, the latents after the activation; or, in a training step, `Codes`.
      pre: `[batch, d_sae]`, the latents before the activation; or, in a training step, `Pre`.
      extras: what single terms and metrics need besides, by name; the model's docstring lists them.
        "logits" `[batch, ...]`, what a sigmoid at the output was applied to, is there in every
        model that ends in one; "decoder_norms" `[d_sae]`, what one unit of a latent writes, where
        that is not the norm of a row of `w_dec`; "w_dec" `[d_sae, d_out]`, what codes are decoded
        with, where that is no parameter `w_dec`, or made of it, or `w_dec` passed on by its first
        reader (`sae_jax/ops/sparse.py`); "compared" `[d_sae]`, what pre-activations are multiplied
        by before the activation compares them, where they are.
    """

    x_hat: jax.Array
    codes: Any
    pre: Any
    extras: dict[str, Any] = flax.struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Bound:
    """A model with its parameters, for terms and metrics that one forward pass does not serve.

    Attributes:
      encode: `[batch, d_in] -> codes [batch, d_sae]`, as when nothing is trained; `x` is in the
        scale of the batch that comes with it.
      call: `(method, *args)`, a method of the model's class; in the model's scale.
      enter: `x`, as `encode` takes it, in the model's scale.
    """

    encode: Callable[[jax.Array], jax.Array]
    call: Callable[..., Any]
    enter: Callable[[jax.Array], jax.Array] = lambda x: x


def mask(batch: Batch) -> jax.Array:
    """Returns float32 `[batch]`: 1 for an example, 0 for padding."""
    return jnp.ones(batch.size, jnp.float32) if batch.mask is None else batch.mask


def variance(batch: Batch) -> jax.Array:
    """Returns the mean over examples of `||target - mean target||^2`, `[]`, summed over d."""
    if batch.variance is not None:
        return batch.variance
    rows = mask(batch)[:, None]
    mean = (batch.target * rows).sum(axis=0)[None] / rows.sum()
    return (((batch.target - mean) * rows) ** 2).sum() / rows.sum()
