"""The vector-quantised autoencoder: a picture becomes a small grid of codebook entries.

  z_e = encoder(x), a vector for each place of a grid,   index = argmin_j ||z_e - e_j||^2
  x_hat = decoder(z_q),   z_q = e_index,   with the gradient of z_q handed to z_e as it is

(van den Oord et al. 2017, arXiv:1711.00937.) The codebook learns from the term `codebook`, or as an
exponential moving average of the vectors that fall to each entry (their appendix A.1); the encoder
stays near it by the term `commitment`: `sae_jax.losses.quantisation`.
"""

from collections.abc import Sequence
from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import conv, rounding

LATENT_AXES = {"codebook": 0, "used": 0}

_Average = tuple[nn.Variable, nn.Variable]
_INIT_EXAMPLES = 256
_FEWEST = 1e-5  # What is left of an entry's count when nothing has fallen to it for long.


class VectorQuantised(nn.Module):
    """Strided convolutions, a codebook, and transposed convolutions.

    Codes are the share of the places that each entry is used for, so an entry that nothing falls to
    is a dead latent; `pre` is minus the squared distance to each entry, averaged over the places.
    Extras:

      "encoded": `[batch, places, width]`, z_e.
      "quantised": `[batch, places, width]`, z_q; its gradient is the codebook's.
      "logits": `[batch, d_in]`, of `x_hat`, with `output="sigmoid"`.

    With `update="average"` the codebook is in the stats, with how many vectors fall to each entry:

      n_j <- decay n_j + (1 - decay) |S_j|
      n_j e_j <- decay n_j e_j + (1 - decay) sum of S_j,   S_j: all z_e whose index is j

    Attributes:
      d_in: width of the input.
      d_sae: entries of the codebook.
      grid: `(height, width, channels)` of a picture.
      width: of a codebook entry.
      channels: of the encoder's convolutions, 4 x 4, each of which halves height and width; the
        decoder has their transposes in reverse.
      blocks: residual blocks after them, and before those of the decoder.
      output: what the decoder ends in.
      update: how the codebook learns: "gradient" or "average".
      decay: of the moving average.
    """

    d_in: int
    d_sae: int
    grid: tuple[int, ...] | None
    width: int = 64
    channels: Sequence[int] = (32, 64)
    blocks: int = 1
    output: Literal["identity", "sigmoid"] = "identity"
    update: Literal["gradient", "average"] = "gradient"
    decay: float = 0.99

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be, words that name no choice and data without pictures."""
        layers.check_sizes(d_sae=self.d_sae, width=self.width, channels=self.channels)
        layers.check_choice("output", self.output, ("identity", "sigmoid"))
        layers.check_choice("update", self.update, ("gradient", "average"))
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay}: it must be from 0 to below 1")
        if self.blocks < 0:
            raise ValueError(f"blocks={self.blocks}: it must be 0 or more")
        if self.grid is None or len(self.grid) != 3:
            raise ValueError("vq needs pictures: examples of this data set have no height, width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, shares of the entries and what the terms need of a batch."""
        if self.is_initializing():
            x = x[:_INIT_EXAMPLES]
        encoded = self._encode(x)
        vectors = encoded.reshape(-1, self.width)
        codebook, average = self._codebook(vectors)
        distance = _distances(vectors, codebook)
        chosen = jax.nn.one_hot(distance.argmin(axis=1), self.d_sae)
        quantised = (chosen @ codebook).reshape(encoded.shape)
        if average is not None and context.train:
            self._move(average, vectors, chosen)
        decoded = self._decode(encoded + jax.lax.stop_gradient(quantised - encoded))
        extras = {"encoded": encoded, "quantised": quantised}
        if self.output == "sigmoid":
            extras["logits"] = decoded
        return types.Output(
            x_hat=layers.NONLINEARITIES[self.output](decoded),
            codes=chosen.reshape(len(x), -1, self.d_sae).mean(axis=1),
            pre=-distance.reshape(len(x), -1, self.d_sae).mean(axis=1),
            extras=extras,
        )

    def _codebook(self, vectors: Array) -> tuple[Array, _Average | None]:
        """Returns the entries `[d_sae, width]`, and where they lie if they are an average.

        They start near outputs of the encoder, so that each is somebody's nearest.
        """

        def start(key: Array) -> Array:
            which, noise = jax.random.split(key)
            few = len(vectors) < self.d_sae
            chosen = jax.random.choice(which, vectors, (self.d_sae,), replace=few)
            return chosen + 0.01 * vectors.std() * jax.random.normal(noise, chosen.shape)

        if self.update == "gradient":
            return self.param("codebook", start), None
        entries = self.variable("stats", "codebook", lambda: start(self.make_rng("params")))
        used = self.variable("stats", "used", lambda: jnp.ones(self.d_sae))
        return entries.value, (entries, used)

    def _move(self, average: _Average, vectors: Array, chosen: Array) -> None:
        """Moves each entry towards the vectors of this batch that fell to it."""
        entries, used = average
        before = self.decay * used.value
        after = before + (1 - self.decay) * chosen.sum(axis=0)
        total = before[:, None] * entries.value + (1 - self.decay) * chosen.T @ vectors
        entries.value = jax.lax.stop_gradient(total / after[:, None])
        used.value = jnp.maximum(after, _FEWEST)

    def _encode(self, x: Array) -> Array:
        """Returns z_e, `[batch, places, width]`."""
        h = x.reshape(-1, *self._picture)
        for i, channels in enumerate(self.channels):
            h = _Convolution(channels, 4, 2, name=f"enc_{i}")(jax.nn.relu(h) if i else h)
        for i in range(self.blocks):
            h = _Block(self.channels[-1], name=f"enc_block_{i}")(h)
        h = jax.nn.relu(h).reshape(-1, self.channels[-1])
        return self._linear("enc", h, self.width).reshape(len(x), -1, self.width)

    def _decode(self, z: Array) -> Array:
        """Returns logits or means `[batch, d_in]`."""
        *size, channels = self._picture
        sizes = [tuple(size)]
        for _ in self.channels:
            sizes.append(conv.smaller(sizes[-1], 2))
        h = self._linear("dec", z.reshape(-1, self.width), self.channels[-1])
        h = h.reshape(len(z), *sizes[-1], self.channels[-1])
        for i in range(self.blocks):
            h = _Block(self.channels[-1], name=f"dec_block_{i}")(h)
        for i in range(len(self.channels) - 1, -1, -1):
            out = self.channels[i - 1] if i else channels
            h = _Transposed(out, 4, 2, sizes[i], name=f"dec_{i}")(jax.nn.relu(h))
        return h.reshape(len(z), -1)

    def _linear(self, name: str, h: Array, width: int) -> Array:
        w = self.param(f"w_{name}", nn.initializers.lecun_normal(), (h.shape[-1], width))
        return h @ w + self.param(f"b_{name}", nn.initializers.zeros, (width,))[None]

    @property
    def _picture(self) -> tuple[int, int, int]:
        assert self.grid is not None
        return self.grid[0], self.grid[1], self.grid[2]


class _Block(nn.Module):
    """A residual block: `h + conv_1x1(relu(conv_3x3(relu(h))))` (van den Oord et al. 2017)."""

    channels: int

    @nn.compact
    def __call__(self, h: Array) -> Array:
        inner = _Convolution(self.channels, 3, name="wide")(jax.nn.relu(h))
        return h + _Convolution(self.channels, 1, name="narrow")(jax.nn.relu(inner))


class _Convolution(nn.Module):
    """A convolution of a picture with a square kernel, and a bias."""

    channels: int
    kernel: int
    stride: int = 1

    @nn.compact
    def __call__(self, h: Array) -> Array:
        shape = (self.kernel, self.kernel, h.shape[-1], self.channels)
        w = self.param("w", nn.initializers.he_normal(), shape)
        b = self.param("b", nn.initializers.zeros, (self.channels,))
        return conv.convolve(h, w, self.stride) + b[None, None, None]


class _Transposed(nn.Module):
    """The transpose of a convolution with a square kernel, to pictures of a size, and a bias."""

    channels: int
    kernel: int
    stride: int
    size: tuple[int, ...]

    @nn.compact
    def __call__(self, h: Array) -> Array:
        shape = (self.kernel, self.kernel, self.channels, h.shape[-1])
        w = self.param("w", nn.initializers.he_normal(in_axis=-1, out_axis=-2), shape)
        b = self.param("b", nn.initializers.zeros, (self.channels,))
        return conv.transposed(h, w, self.size, self.stride) + b[None, None, None]


def _distances(vectors: Array, codebook: Array) -> Array:
    """Returns `||z - e_j||^2` of each vector and entry, `[vectors, d_sae]`."""
    return (
        (vectors**2).sum(axis=1, keepdims=True)
        - 2 * vectors @ codebook.T
        + (rounding.widened(codebook) ** 2).sum(axis=1)[None]
    )


Model = VectorQuantised
