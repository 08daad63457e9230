"""The convolutional autoencoder, for pictures and series.

  h_0 = x,   h_i = s(pool(h_{i-1} * w_i + b_i)),   codes = activation(h_n w_enc + b_enc)
  g_n = s(codes w_dec + b_dec),   g_{i-1} = s(g_i *^T v_i + c_i),   x_hat = g_1 *^T v_1 + c_1

`*` is a convolution, `*^T` the transpose of a strided one; `s` is `nonlinearity`. Each layer leaves
ceil(n / stride) of n places, by its stride or by max-pooling, the only thing that makes features
sparse in Masci et al. 2011 ("Stacked Convolutional Auto-Encoders"); its mirror gives back the n.
Without `d_sae` there is no dense layer and the code is the last maps, `activation(h_{n-1} * w_n +
b_n)`, flattened.
"""

from collections.abc import Mapping, Sequence
import itertools
import math
from typing import Any, Literal

from flax import linen as nn
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import conv

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class ConvolutionalAutoencoder(nn.Module):
    """Convolutions that narrow, a code, transposed convolutions that widen to the same sizes.

    The dense layers next to the code are `w_enc`, `b_enc`, `w_dec`, `b_dec`; the convolutions
    `enc_0` (next to the input), `enc_1`, ... and their mirrors `dec_0` (next to the output), ...

    Attributes:
      d_in: numbers in an example.
      grid: what an example, reshaped, is: (height, width, channels) or (length, channels).
      activation: of the code, a module of `sae_jax.activations`.
      d_sae: width of a dense code; 0: the last maps are the code.
      channels: maps of each layer.
      kernel: side of every kernel.
      stride: of every layer.
      pool: whether a layer shrinks by the "stride" of its convolution, or convolves at every place
        and takes the "max" of each stride x stride window.
      nonlinearity: of the layers, a name of `sae_jax.models.layers`.
      output: what the decoder ends in.
      bias: how the output's bias, one number a channel, starts: "zeros", or the "mean" of the
        examples that `init` sees (its logit with `output="sigmoid"`).
    """

    d_in: int
    grid: tuple[int, ...] | None
    activation: nn.Module
    d_sae: int = 0
    channels: Sequence[int] = (16, 32)
    kernel: int = 5
    stride: int = 2
    pool: Literal["stride", "max"] = "stride"
    nonlinearity: str = "relu"
    output: Literal["identity", "sigmoid"] = "identity"
    bias: Literal["zeros", "mean"] = "zeros"

    def __post_init__(self) -> None:
        """Refuses data without neighbours, sizes that cannot be and words that name no choice."""
        check_grid(self.grid)
        layers.check_sizes(channels=self.channels, kernel=self.kernel, stride=self.stride)
        if self.d_sae < 0 or not self.channels:
            raise ValueError("d_sae must be 0 or more, and channels must name one layer at least")
        layers.check_choice("pool", self.pool, ("stride", "max"))
        layers.check_choice("nonlinearity", self.nonlinearity, layers.NONLINEARITIES)
        layers.check_choice("output", self.output, ("identity", "sigmoid"))
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        params = self._parameters(x)
        h = pre = x.reshape(len(x), *self._shapes[0])
        for i in range(len(self.channels)):
            pre = self._narrow(params[f"enc_{i}"], h)
            h = self._act(pre)
        if self.d_sae:
            pre = h.reshape(len(x), -1) @ params["w_enc"] + params["b_enc"][None]
        pre = pre.reshape(len(x), -1)
        codes = self.activation(pre, context)
        x_hat, logits = self._widen(params, codes)
        extras: dict[str, Any] = {"logits": logits} if self.output == "sigmoid" else {}
        return types.Output(x_hat=x_hat, codes=codes, pre=pre, extras=extras)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return self._widen(self.variables["params"], codes)[0]

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        """`(*size, channels)` of the input and of each layer's maps."""
        assert self.grid is not None
        shapes = [self.grid]
        for width in self.channels:
            shapes.append((*conv.smaller(shapes[-1][:-1], self.stride), width))
        return shapes

    def _parameters(self, x: Array) -> dict[str, Any]:
        """Returns every parameter by its name."""
        shapes = self._shapes
        params: dict[str, Any] = {}
        zeros: Any = nn.initializers.zeros
        last = layers.output_bias(self.bias, self.output, x.reshape(-1, shapes[0][-1]))
        gain = 2.0 if self.nonlinearity in layers.RECTIFIERS else 1.0
        for i, (wide, narrow) in enumerate(itertools.pairwise(shapes)):
            c_in, c_out = wide[-1], narrow[-1]
            params[f"enc_{i}"] = self._layer(f"enc_{i}", c_in, c_out, gain, zeros)
            # The share of a kernel that reaches one place is what the stride leaves of it.
            back = (gain if i else 1.0) * self.stride ** (len(wide) - 1)
            bias = zeros if i else last
            params[f"dec_{i}"] = self._layer(f"dec_{i}", c_out, c_in, back, bias, turned=True)
        if self.d_sae:
            flat = math.prod(shapes[-1])
            encode, decode = map(layers.initializer, ("identity", self.nonlinearity))
            params["w_enc"] = self.param("w_enc", encode, (flat, self.d_sae))
            params["b_enc"] = self.param("b_enc", zeros, (self.d_sae,))
            params["w_dec"] = self.param("w_dec", decode, (self.d_sae, flat))
            params["b_dec"] = self.param("b_dec", zeros, (flat,))
        return params

    def _layer(
        self, name: str, c_in: int, c_out: int, gain: float, bias: Any, turned: bool = False
    ) -> dict[str, Array]:
        """Returns a kernel, its last two axes turned for a transposed convolution, and a bias.

        `bias` is its initialiser.
        """

        def make(key: Array) -> dict[str, Array]:
            w = conv.kernel(key, self.kernel, len(self._shapes[0]) - 1, c_in, c_out, gain)
            return {"w": w.swapaxes(-1, -2) if turned else w, "b": bias(key, (c_out,))}

        return self.param(name, make)

    def _narrow(self, layer: dict[str, Array], h: Array) -> Array:
        """Returns the pre-activations of one layer, `[batch, *smaller, channels]`."""
        if self.pool == "stride":
            return conv.add_bias(conv.convolve(h, layer["w"], self.stride), layer["b"])
        every = conv.add_bias(conv.convolve(h, layer["w"]), layer["b"])
        return conv.max_pool(every, self.stride, self.stride)

    def _widen(self, params: Mapping[str, Any], codes: Array) -> tuple[Array, Array]:
        """Returns the reconstruction, and what it was before the last non-linearity; both flat."""
        *outer, inner = self._shapes
        g = codes
        if self.d_sae:
            g = self._act(codes @ params["w_dec"] + params["b_dec"][None])
        g = g.reshape(len(codes), *inner)
        for i in reversed(range(len(outer))):
            layer = params[f"dec_{i}"]
            logits = conv.transposed(g, layer["w"], outer[i][:-1], self.stride)
            logits = conv.add_bias(logits, layer["b"])
            g = self._act(logits)
        logits = logits.reshape(len(codes), -1)
        return layers.NONLINEARITIES[self.output](logits), logits

    def _act(self, pre: Array) -> Array:
        return layers.NONLINEARITIES[self.nonlinearity](pre)


def check_grid(grid: tuple[int, ...] | None) -> None:
    """Raises a ValueError for data that are neither pictures nor series."""
    if grid is None or len(grid) not in (2, 3):
        raise ValueError(
            f"examples of grid {grid} cannot be convolved: choose data that are pictures "
            "(height, width, channels) or series (length, channels)"
        )


Model = ConvolutionalAutoencoder
