"""The convolutional winner-take-all autoencoder (CONV-WTA; Makhzani & Frey, arXiv 1409.2752).

  h_0 = x,   h_i = max(h_{i-1} * w_i + b_i, 0),   x_hat = winners(h_n) * v + c

Spatial sparsity: of each map of each example only the largest place is left, its winner. Lifetime
sparsity, in training: of each map's winners over the batch only the largest share is left. The one
linear layer that decodes has to put a whole stroke down for each winner, so its kernel is large.
When features are taken nothing is suppressed: the maps are max-pooled.
"""

from collections.abc import Sequence
import math

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sae_jax import types
from sae_jax.models import conv as conv_model, layers
from sae_jax.ops import conv, schedule, select

LATENT_AXES: dict[str, int] = {}  # Kernels are small: each device holds them whole.


class ConvolutionalWinnerTakeAll(nn.Module):
    """Convolutional ReLU layers, winners, one linear layer of large kernels.

    Codes are the last maps, max-pooled and flattened: in training with all but the winners at 0,
    else as they are. Reconstructions are always made of winners; only training leaves out those
    that are small for their map. `pre` is pooled as well, before the ReLU.

    Attributes:
      d_in: numbers in an example.
      grid: what an example, reshaped, is: (height, width, channels) or (length, channels).
      channels: maps of each layer.
      kernel: side of the encoder's kernels.
      decoder_kernel: side of the decoder's.
      share: of the batch for which each map may have a winner, above 0 and at most 1; a number or a
        schedule. At least one example.
      pool: side of the windows of which a code is the largest number.
      pool_stride: places from one window to the next.
    """

    d_in: int
    grid: tuple[int, ...] | None
    channels: Sequence[int] = (64, 64, 128)
    kernel: int = 5
    decoder_kernel: int = 11
    share: schedule.Number = 0.05
    pool: int = 6
    pool_stride: int = 4

    def __post_init__(self) -> None:
        """Refuses data without neighbours and sizes that cannot be."""
        conv_model.check_grid(self.grid)
        layers.check_sizes(
            channels=self.channels,
            kernel=self.kernel,
            decoder_kernel=self.decoder_kernel,
            pool=self.pool,
            pool_stride=self.pool_stride,
        )
        if not self.channels:
            raise ValueError("channels must name one layer at least")
        if not callable(self.share) and not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: it must be above 0 and at most 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        assert self.grid is not None
        h = x.reshape(len(x), *self.grid)
        for i, width in enumerate(self.channels):
            pre = self._layer(f"enc_{i}", h, self.kernel, width, 2.0)
            h = jax.nn.relu(pre)
        winners = jnp.where(self._chosen(pre, context), h, 0.0)
        # A place is reached by few winners: the kernel's size is not to be divided off.
        gain = float(self.decoder_kernel ** (len(self.grid) - 1))
        x_hat = self._layer("dec_0", winners, self.decoder_kernel, self.grid[-1], gain)
        return types.Output(
            x_hat=x_hat.reshape(x.shape),
            codes=self._pooled(winners if context.train else h),
            pre=self._pooled(pre),
        )

    def _layer(self, name: str, h: Array, side: int, width: int, gain: float) -> Array:
        def make(key: Array) -> dict[str, Array]:
            w = conv.kernel(key, side, h.ndim - 2, h.shape[-1], width, gain)
            return {"w": w, "b": jnp.zeros(width)}

        layer = self.param(name, make)
        return conv.add_bias(conv.convolve(h, layer["w"]), layer["b"])

    def _chosen(
        self, pre: Float[Array, "batch *size maps"], context: types.Context
    ) -> Bool[Array, "batch *size maps"]:
        """Returns where winners are."""
        batch, *size, maps = pre.shape
        flat = pre.reshape(batch, math.prod(size), maps)
        place = flat.argmax(axis=1, keepdims=True)
        chosen = jnp.arange(flat.shape[1])[None, :, None] == place
        if context.train:
            k = select.count(batch * schedule.value(self.share, context.step), batch)
            chosen &= select.largest(flat.max(axis=1), k, axis=0)[:, None, :]
        return chosen.reshape(pre.shape)

    def _pooled(self, maps: Array) -> Array:
        return conv.max_pool(maps, self.pool, self.pool_stride).reshape(len(maps), -1)


Model = ConvolutionalWinnerTakeAll
