"""Matching pursuit as an encoder: each latent explains what those before it have left over.

  r_0 = x - b_dec
  j   = argmax_i <r, d_i>,   codes_j <- codes_j + <r, d_j>,   r <- r - <r, d_j> d_j,   k times
  x_hat = codes w_dec + b_dec

MP-SAE (Costa et al. 2025, arXiv 2506.03093): the encoder has no weights of its own, and latents
that resemble each other are active together only if what one has left over asks for the other.
With `relu` only positive products are taken, and a code ends early where there is none; without
it the largest in absolute value: implementations differ. Gradients pass through the values; which
latents are chosen is a constant. Rows must have norm 1: use the constraint "unit_norm".
"""

from typing import get_args

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import linear, pursuit, sparse

LATENT_AXES = {"w_dec": 0}


class MatchingPursuit(nn.Module):
    """A dictionary and a bias; `pre` are the products `(x - b_dec) w_dec^T` of the first step.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      k: steps; a latent may be taken more than once, so at most so many are active.
      relu: whether only positive products count.
      bias: how `b_dec` starts: "zeros", or the "mean" or geometric "median" of the examples that
        `init` sees.
    """

    d_in: int
    d_sae: int
    k: int
    relu: bool = True
    bias: layers.Centre = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, k=self.k)
        layers.check_choice("bias", self.bias, get_args(layers.Centre))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and first products of a batch."""
        del context
        w_dec = self.param("w_dec", layers.directions(1.0), (self.d_sae, self.d_in))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        no_bias = jnp.zeros(self.d_sae, x.dtype)
        pre = types.Pre(linear.encode(x, b_dec, w_dec.T, no_bias), x, b_dec, w_dec.T, no_bias)
        r = x - b_dec[None]
        indices = pursuit.choose(sparse.all_of(pre), r, w_dec, self.k, self.relu)
        values, left = pursuit.explain(r, indices, w_dec, self.relu)
        return types.Output(x - left, pursuit.codes(values, indices, self.d_sae), pre)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return layers.decode(self.variables["params"], codes)


Model = MatchingPursuit
