"""The gated autoencoder: one half of the encoder says which latents are active, one how much.

  pre   = (x - b_dec) w_enc + b_gate
  codes = H(pre) ReLU(exp(r_mag) (x - b_dec) w_enc + b_mag)
  x_hat = codes w_dec + b_dec

Rajamanoharan et al. 2024 (arXiv 2404.16014), whose W_gate and pi are `w_enc` and `pre` here. An L1
term on codes would shrink them; here it is laid on the gate's ReLU(pre), and magnitudes are free.
The step H has no gradient: `b_gate` learns only by the terms `gate_l1` and `gate_reconstruction`
of `sae_jax/losses/gated.py`, which with `mse_sum` make the paper's loss, with rows of norm 1.
"""

from typing import get_args

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import linear

LATENT_AXES = {"w_enc": 1, "b_gate": 0, "r_mag": 0, "b_mag": 0, "w_dec": 0}


class Gated(nn.Module):
    """One matrix for gates and magnitudes, each latent with two biases and a scale.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      decoder_norm: norm of the decoder rows at the start; `w_enc` starts as their copy.
      bias: how `b_dec` starts: "zeros", or the "mean" or geometric "median" of the examples that
        `init` sees.
    """

    d_in: int
    d_sae: int
    decoder_norm: float = 1.0
    bias: layers.Centre = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae)
        layers.check_choice("bias", self.bias, get_args(layers.Centre))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and gates before their step of a batch."""
        del context
        rows = layers.directions(self.decoder_norm)
        w_dec = self.param("w_dec", rows, (self.d_sae, self.d_in))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        w_enc = self.param("w_enc", layers.transposed, w_dec)
        b_gate, r_mag, b_mag = (
            self.param(name, nn.initializers.zeros, (self.d_sae,))
            for name in ("b_gate", "r_mag", "b_mag")
        )
        products = linear.encode(x, b_dec, w_enc, jnp.zeros_like(b_gate))
        pre = products + b_gate[None]
        magnitudes = jax.nn.relu(jnp.exp(r_mag)[None] * products + b_mag[None])
        codes = jnp.where(pre > 0, magnitudes, 0.0)
        return types.Output(codes @ w_dec + b_dec[None], codes, pre)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return layers.decode(self.variables["params"], codes)


Model = Gated
