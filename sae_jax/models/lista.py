"""An encoder that looks at what it has left over: a few steps of iterative shrinkage, then codes.

  a_0     = (x - b_dec) w_enc + b_enc
  a_{t+1} = a_t + eta (x - x_hat(a_t)) w_enc,      x_hat(a) = activation(a) w_dec + b_dec
  codes   = activation(a_T)

LISTA (Gregor & LeCun 2010) unrolls the iteration that solves a sparse coding problem; here, as in
encoders that were tried for SAEs in 2026 (one step, eta 0.3, BatchTopK), the matrix that encodes
the input encodes the residual too. As that is linear, `a_t` is the encoding of an input to which
residuals were added, and sparse codes stay sparse. Each step costs a decoding and an encoding.
"""

from typing import Any, get_args

from flax import linen as nn
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import linear, sparse

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class LearnedShrinkage(nn.Module):
    """One encoder, used `steps + 1` times, and one linear decoder.

    Each step has an activation of its own, with its own thresholds: "activation" is the last one,
    "activation_0" the first.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      activation: pre-activations to codes, a module of `sae_jax.activations`.
      steps: how often the residual is encoded.
      eta: size of a step, above 0.
      learn_eta: whether `eta` `[steps]` is a parameter that starts there.
      decoder_norm: norm of the decoder rows at the start; `w_enc` starts as their copy.
      bias: how `b_dec` starts: "zeros", or the "mean" or geometric "median" of the examples that
        `init` sees.
    """

    d_in: int
    d_sae: int
    activation: nn.Module
    steps: int = 1
    eta: float = 0.3
    learn_eta: bool = False
    decoder_norm: float = 1.0
    bias: layers.Centre = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, steps=self.steps)
        layers.check_choice("bias", self.bias, get_args(layers.Centre))
        if self.eta <= 0:
            raise ValueError(f"eta={self.eta}: it must be above 0")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and the last pre-activations of a batch."""
        rows = layers.directions(self.decoder_norm)
        w_dec = self.param("w_dec", rows, (self.d_sae, self.d_in))
        b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        w_enc = self.param("w_enc", layers.transposed, w_dec)
        etas: Any = [self.eta] * self.steps
        if self.learn_eta:
            etas = self.param("eta", nn.initializers.constant(self.eta), (self.steps,))

        def encoded(seen: Array) -> types.Pre:
            return types.Pre(linear.encode(seen, b_dec, w_enc, b_enc), seen, b_dec, w_enc, b_enc)

        seen = x
        for step in range(self.steps):
            activation = self.activation.clone(parent=self, name=f"activation_{step}")
            codes = layers.activate(activation, encoded(seen), context)
            seen = seen + etas[step] * (x - sparse.product(codes, w_dec) - b_dec[None])
        pre = encoded(seen)
        codes = layers.activate(self.activation, pre, context)
        return types.Output(sparse.product(codes, w_dec) + b_dec[None], codes, pre)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return layers.decode(self.variables["params"], codes)


Model = LearnedShrinkage
