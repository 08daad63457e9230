"""The deep autoencoder: narrowing layers to a code, and the same widths in reverse.

  h_0 = x,   h_i = s(h_{i-1} w_i + b_i),        codes = activation(h_n w_enc + b_enc)
  g_n = s(codes w_dec + b_dec),   g_{i-1} = s(g_i v_i + c_i),   x_hat = g_1 v_1 + c_1

`s` is `nonlinearity`; with `output="sigmoid"` x_hat is squashed. 784-1000-500-250-30 with logistic
units and a linear code is that of Hinton & Salakhutdinov 2006 (Science 313, 504); one hidden layer
of sigmoids is the textbook's 64-12-64.
"""

from collections.abc import Sequence
from typing import Any, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class DeepAutoencoder(nn.Module):
    """Linear layers that narrow to `d_sae` and widen again.

    The layers next to the code are `w_enc`, `b_enc`, `w_dec`, `b_dec`; those further out `enc_0`
    (next to the input), `enc_1`, ... and their mirrors `dec_0` (next to the output), `dec_1`, ...

    With `layerwise`, extras holds "layer_input" and "layer_output": tuples, a `[batch, width]` for
    each layer of the encoder: what the layer saw, and what it and its mirror alone make of it. No
    gradient passes from one layer to the next, so each learns as an autoencoder of one hidden layer
    does (Bengio et al. 2007; with noise, Vincent et al. 2010).

    Attributes:
      d_in: width of the input.
      d_out: width of the reconstruction.
      d_sae: width of the code.
      activation: of the code, a module of `sae_jax.activations`.
      hidden: widths of the encoder's layers before the code; the decoder has them in reverse.
      nonlinearity: of the hidden layers, a name of `sae_jax.models.layers`.
      output: what the decoder ends in.
      tied: whether each decoder matrix is the transpose of its encoder matrix.
      bias: how the bias of the output starts: "zeros", or the "mean" of the examples that `init`
        sees (its logit with `output="sigmoid"`).
      layerwise: whether to reconstruct each layer by itself too.
      layer_noise: share of each layer's input that is set to 0 for that, in training.
    """

    d_in: int
    d_out: int
    d_sae: int
    activation: nn.Module
    hidden: Sequence[int] = ()
    nonlinearity: str = "sigmoid"
    output: Literal["identity", "sigmoid"] = "identity"
    tied: bool = False
    bias: Literal["zeros", "mean"] = "zeros"
    layerwise: bool = False
    layer_noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, hidden=self.hidden)
        layers.check_choice("nonlinearity", self.nonlinearity, layers.NONLINEARITIES)
        layers.check_choice("output", self.output, ("identity", "sigmoid"))
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        if self.d_out != self.d_in and (self.tied or self.layerwise or self.bias == "mean"):
            raise ValueError("tied, layerwise and bias='mean' need targets as wide as the input")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        depth = len(self.hidden)
        encoder, decoder = self._parameters(x)
        seen = [x]
        for i in range(depth):
            seen.append(self._encode(encoder, i, seen[i], context))
        pre = _linear(encoder[depth], seen[depth])
        codes = self.activation(pre, context)
        x_hat, logits = self._widen(decoder, codes)
        extras: dict[str, Any] = {"logits": logits} if self.output == "sigmoid" else {}
        if self.layerwise:
            seen = [jax.lax.stop_gradient(h) for h in seen]
            extras["layer_input"] = tuple(seen)
            extras["layer_output"] = tuple(
                self._decode(
                    i,
                    _linear(
                        decoder[i], self._encode(encoder, i, self._noisy(i, h, context), context)
                    ),
                )
                for i, h in enumerate(seen)
            )
        return types.Output(x_hat=x_hat, codes=codes, pre=pre, extras=extras)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_out"]:
        """Returns the reconstruction that codes stand for."""
        params = self.variables["params"]
        # Where a layer of the decoder has no matrix of its own, it is tied.
        outer = [
            {"w": params[f"enc_{i}"]["w"].T, **params[f"dec_{i}"]} for i in range(len(self.hidden))
        ]
        inner = {"w": params.get("w_dec", params["w_enc"].T), "b": params["b_dec"]}
        return self._widen([*outer, inner], codes)[0]

    def _widen(self, decoder: list[dict[str, Array]], codes: Array) -> tuple[Array, Array]:
        """Returns the reconstruction, and what it was before the last non-linearity."""
        g = codes
        for i in range(len(decoder) - 1, -1, -1):
            logits = _linear(decoder[i], g)
            g = self._decode(i, logits)
        return g, logits

    def _parameters(self, x: Array) -> tuple[list[dict[str, Array]], list[dict[str, Array]]]:
        """Returns `{"w", "b"}` of each layer of the encoder, and of its mirror in the decoder."""
        widths = [self.d_in, *self.hidden, self.d_sae]
        encoder, decoder = [], []
        for i, (wide, narrow) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            last = i == len(self.hidden)
            init = layers.initializer("identity" if last else self.nonlinearity)
            encoder.append(self._layer("enc", i, last, (wide, narrow), init, nn.initializers.zeros))
            out = self.d_out if i == 0 else wide
            init = layers.initializer("identity" if i == 0 else self.nonlinearity)
            bias = nn.initializers.zeros if i else layers.output_bias(self.bias, self.output, x)
            w = encoder[i]["w"].T if self.tied else None
            decoder.append(self._layer("dec", i, last, (narrow, out), init, bias, w))
        return encoder, decoder

    def _layer(
        self,
        side: str,
        i: int,
        last: bool,
        shape: tuple[int, int],
        init: Any,
        bias: Any,
        w: Array | None = None,
    ) -> dict[str, Array]:
        """Returns one layer; the one next to the code lies at the top of the parameters."""
        if last:
            w = self.param(f"w_{side}", init, shape) if w is None else w
            return {"w": w, "b": self.param(f"b_{side}", bias, (shape[1],))}

        def make(key: Array) -> dict[str, Array]:
            made = {"b": bias(key, (shape[1],))}
            return made if w is not None else {"w": init(key, shape), **made}

        made = self.param(f"{side}_{i}", make)
        return made if w is None else {"w": w, **made}

    def _encode(
        self, encoder: list[dict[str, Array]], i: int, h: Array, context: types.Context
    ) -> Array:
        pre = _linear(encoder[i], h)
        if i == len(self.hidden):
            return self.activation(pre, context)
        return layers.NONLINEARITIES[self.nonlinearity](pre)

    def _decode(self, i: int, logits: Array) -> Array:
        return layers.NONLINEARITIES[self.output if i == 0 else self.nonlinearity](logits)

    def _noisy(self, i: int, h: Array, context: types.Context) -> Array:
        if not (context.train and self.layer_noise):
            return h
        keep = jax.random.bernoulli(
            jax.random.fold_in(context.key, i), 1 - self.layer_noise, h.shape
        )
        return jnp.where(keep, h, 0.0)


def _linear(layer: dict[str, Array], x: Array) -> Array:
    return x @ layer["w"] + layer["b"][None]


Model = DeepAutoencoder
