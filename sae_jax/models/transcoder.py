r"""The transcoder: reads what a layer reads and writes what that layer writes, through few latents.

  pre   = x w_enc + b_enc
  codes = activation(pre)
  y_hat = codes w_dec + b_dec             with a skip: + x w_skip, or + x w_skip_in w_skip_out

Dunefsky et al. 2024 (arXiv 2406.11944), with a ReLU and an L1 term. Skip transcoders (Paulo et al.
2025, arXiv 2501.18823), with TopK: what is linear in the layer need not be said by latents.
"""

from typing import Literal

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class Transcoder(nn.Module):
    """One linear encoder, one activation, one linear decoder of another width.

    Columns of `w_enc` start in random directions with norm 1, rows of `w_dec` in others; biases and
    skip start at 0.

    Attributes:
      d_in: width of the input.
      d_out: width of the output.
      d_sae: number of latents.
      activation: pre-activations to codes, a module of `sae_jax.activations`.
      skip: "none"; "full", a linear map of the input besides; "low_rank", one of rank `rank`, whose
        `w_skip_in` starts as Glorot & Bengio 2010 and `w_skip_out` at 0.
      rank: of a skip of low rank.
      decoder_norm: norm of the rows of `w_dec` at the start.
    """

    d_in: int
    d_out: int
    d_sae: int
    activation: nn.Module
    skip: Literal["none", "full", "low_rank"] = "none"
    rank: int = 8
    decoder_norm: float = 1.0

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and a skip that is none."""
        layers.check_sizes(d_sae=self.d_sae, rank=self.rank)
        layers.check_choice("skip", self.skip, ("none", "full", "low_rank"))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns what is written for a batch, codes and pre-activations."""
        w_enc = self.param("w_enc", self._columns, (self.d_in, self.d_sae))
        b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        rows = layers.directions(self.decoder_norm)
        w_dec = self.param("w_dec", rows, (self.d_sae, self.d_out))
        b_dec = self.param("b_dec", nn.initializers.zeros, (self.d_out,))
        centre = jnp.zeros(self.d_in)
        codes, known = layers.encode(self.activation, x, centre, w_enc, b_enc, context)
        y_hat = layers.decode_and_pass(codes, known, w_dec)[0] + b_dec[None]
        return types.Output(y_hat + self._skipped(x), codes, known)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_out"]:
        """Returns what codes write, without what skips them."""
        params = self.variables["params"]
        return codes @ params["w_dec"] + params["b_dec"][None]

    def _skipped(self, x: Array) -> Array | float:
        """Returns what reaches the output without latents."""
        zeros = nn.initializers.zeros
        if self.skip == "none":
            return 0.0
        if self.skip == "full":
            return x @ self.param("w_skip", zeros, (self.d_in, self.d_out))
        w_in = self.param("w_skip_in", nn.initializers.glorot_uniform(), (self.d_in, self.rank))
        return x @ w_in @ self.param("w_skip_out", zeros, (self.rank, self.d_out))

    def _columns(self, key: Array, shape: tuple[int, int]) -> Array:
        return layers.directions(1.0)(key, shape[::-1]).T


Model = Transcoder
