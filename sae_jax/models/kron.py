"""Latents that are pairs: each is active where both of its halves are.

  u   = ReLU((x - b_dec) w_left)     [heads, m],     v = ReLU((x - b_dec) w_right)     [heads, n]
  pre = sqrt(u_i v_j) for each head and each pair (i, j) of its halves, 0 where one of them is 0
  codes = activation(pre),   x_hat = codes w_dec + b_dec,   d_sae = heads m n

KronSAE (Kurochkin et al. 2025, arXiv 2505.22255): an encoder of `d_in heads (m + n)` weights in the
place of `d_in d_sae`, and a smooth AND (their mAND). The slope of a square root grows without bound
towards 0: a half below 1e-6 counts as 0 and has no gradient.
"""

from typing import Literal

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import sparse

LATENT_AXES = {"w_dec": 0, "threshold": 0}

_TINY = 1e-6


class Kronecker(nn.Module):
    """Two small encoders whose latents are multiplied pair by pair, and one linear decoder.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      activation: products to codes, a module of `sae_jax.activations`.
      heads: groups in which all pairs are made.
      m: left halves of a head; it has `d_sae / (heads m)` right ones.
      decoder_norm: norm of the decoder rows at the start.
      bias: how `b_dec` starts: "zeros", or the "mean" of the examples that `init` sees.
    """

    d_in: int
    d_sae: int
    activation: nn.Module
    heads: int
    m: int
    decoder_norm: float = 1.0
    bias: Literal["zeros", "mean"] = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, heads=self.heads, m=self.m)
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        if self.d_sae % (self.heads * self.m):
            raise ValueError(
                f"heads={self.heads} times m={self.m} of {self.d_sae} latents: choose numbers "
                "whose product divides them"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and products of halves of a batch."""
        rows = layers.directions(self.decoder_norm)
        w_dec = self.param("w_dec", rows, (self.d_sae, self.d_in))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        n = self.d_sae // (self.heads * self.m)
        left = self._half("left", x - b_dec[None], self.m)
        right = self._half("right", x - b_dec[None], n)
        pre = (left[:, :, :, None] * right[:, :, None, :]).reshape(len(x), self.d_sae)
        codes = layers.activate(self.activation, pre, context)
        return types.Output(sparse.product(codes, w_dec) + b_dec[None], codes, pre)

    def _half(self, name: str, x: Array, size: int) -> Array:
        """Returns the square roots of one half of all heads, `[batch, heads, size]`."""
        initial = nn.initializers.lecun_normal()
        w = self.param(f"w_{name}", initial, (self.d_in, self.heads * size))
        products = (x @ w).reshape(len(x), self.heads, size)
        above = products > _TINY
        return jnp.where(above, jnp.sqrt(jnp.where(above, products, 1.0)), 0.0)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return layers.decode(self.variables["params"], codes)


Model = Kronecker
