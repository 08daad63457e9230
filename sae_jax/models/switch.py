"""Several small dictionaries, of which a router chooses one for each example.

  p     = softmax((x - b_router) w_router),      e = argmax_i p_i
  codes = p_e TopK_k((x - b_dec) w_enc_e)        zeros outside of expert e
  x_hat = codes w_dec + b_dec

Switch SAE (Mudide et al. 2024, arXiv 2410.08201): `x_hat = p_e E_e(x - b_dec) + b_dec`, and an
expert E_e has no biases. The router learns by p_e, and by the term `load_balance` of
`sae_jax/losses/routing.py`, without which few experts get all examples. What the others would have
made of an example is not computed: see `sae_jax/ops/experts.py` for what is.
"""

from typing import get_args

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import experts, sharded, sparse

LATENT_AXES = {"w_enc": 1, "w_dec": 0}


class Switch(nn.Module):
    """A router, and experts whose latents stand side by side in `w_enc` and `w_dec`.

    Codes are sparse in training; `pre` is 0, without a gradient, for latents of other experts: of
    dead latents `auxk` asks those of the chosen expert alone.
    Extras:

      "router": `[batch, experts]`, p.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents of all experts together.
      experts: how many; they divide d_sae.
      k: latents that the chosen expert keeps, at most d_sae / experts; negative ones become 0.
      decoder_norm: norm of the decoder rows at the start; `w_enc` starts as their copy.
      bias: how `b_dec` starts, and `b_router` with it: "zeros", or the "mean" or geometric "median"
        of the examples that `init` sees.
    """

    d_in: int
    d_sae: int
    experts: int
    k: int
    decoder_norm: float = 1.0
    bias: layers.Centre = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, experts=self.experts, k=self.k)
        layers.check_choice("bias", self.bias, get_args(layers.Centre))
        if self.d_sae % self.experts:
            raise ValueError(
                f"experts={self.experts} of {self.d_sae} latents: choose a number that divides them"
            )
        if self.k > self.d_sae // self.experts:
            raise ValueError(
                f"k={self.k} of {self.d_sae // self.experts} latents of an expert: choose a "
                "smaller k"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and the router's probabilities of a batch."""
        del context
        rows = layers.directions(self.decoder_norm)
        w_dec = self.param("w_dec", rows, (self.d_sae, self.d_in))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        w_enc = self.param("w_enc", layers.transposed, w_dec)
        shape = (self.d_in, self.experts)
        w_router = self.param("w_router", nn.initializers.lecun_normal(), shape)
        b_router = self.param("b_router", layers.centre(self.bias), x)
        p = jax.nn.softmax((x - b_router[None]) @ w_router, axis=1)
        expert = p.argmax(axis=1)
        own = experts.product(x - b_dec[None], w_enc, expert, self.experts)
        first = (expert * own.shape[1]).astype(jnp.int32)[:, None]
        values, places = sharded.top_k(own, self.k, whole_rows=True)
        indices = places.astype(jnp.int32) + first
        no_bias = jnp.zeros(self.d_sae, x.dtype)
        values = sparse.known(values, indices, x, b_dec, w_enc, no_bias)
        chosen = jnp.take_along_axis(p, expert[:, None], axis=1)
        codes = types.Codes(chosen * jax.nn.relu(values), indices, self.d_sae)
        everywhere = jnp.arange(own.shape[1], dtype=jnp.int32)[None] + first
        return types.Output(
            x_hat=sparse.product(codes, w_dec) + b_dec[None],
            codes=codes,
            pre=sparse.dense(types.Codes(own, everywhere, self.d_sae)),
            extras={"router": p},
        )

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return layers.decode(self.variables["params"], codes)


Model = Switch
