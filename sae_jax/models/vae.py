"""The variational autoencoder: a normal prior, a normal posterior for each example, a deep decoder.

  p(z) = N(0, 1),   q(z | x) = N(mean(x), exp(log_var(x)))   with independent coordinates
  h_0 = x,   h_i = s(h_{i-1} w_i + b_i),   mean = h_n w_enc + b_enc,   log_var = h_n w' + b'
  g_n = s(z w_dec + b_dec),   g_{i-1} = s(g_i v_i + c_i),   decoded = g_1 v_1 + c_1
  p(x | z) = Bernoulli with logits `decoded`, or N(decoded, sigma^2)

(Kingma & Welling 2014, arXiv:1312.6114.) 784-200-200-50 with tanh, and the output's bias at the
logit of the mean example, is the network of Burda et al. 2015 (arXiv:1509.00519, one stochastic
layer). Which bound is trained on is the loss's affair: `sae_jax.losses.variational`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import likelihood

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_log_var": 1, "b_log_var": 0, "w_dec": 0}

_Layer = dict[str, Array]


class VariationalAutoencoder(nn.Module):
    """An encoder to a normal distribution, and a decoder from samples of it.

    Codes are the mean of the posterior. In training `x_hat` is decoded from the first of `samples`
    draws; else the mean is the only draw. Extras, of k draws z:

      "mean", "log_var": `[batch, d_sae]`, of the posterior.
      "decoded": `[batch, k, d_in]`, logits or means.
      "log_ratio": `[batch, k]`, `log p(z) - log q(z | x)`.
      "logits": `[batch, d_in]`, of `x_hat`, with `output="sigmoid"`.
      "sigma": `[]`, with `output="identity"`.
      "log_weights": `[batch, samples]`, without a gradient, with `kept`.

    With `kept`, only so many of the draws get a gradient; decoding the others costs a third. They
    are chosen with probabilities in proportion to their weights p(x, z) / q(z | x), so the mean of
    their gradients is that of the importance-weighted bound in expectation (Burda et al. 2015,
    section 3, for one draw); x must be the target. k is then `kept`.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      hidden: widths of the encoder's layers; the decoder has them in reverse.
      nonlinearity: of the hidden layers, a name of `sae_jax.models.layers`.
      output: "sigmoid" for a Bernoulli likelihood, "identity" for a normal one.
      sigma: standard deviation of the normal likelihood, in units of the model's input.
      samples: draws from the posterior for each example, in training.
      kept: how many of them get a gradient; 0 for all.
      bias: how the outermost biases start: "zeros"; or, with "mean", so that the mean of the
        examples that `init` sees gives zeros in the first layer and comes out of the last.
    """

    d_in: int
    d_sae: int
    hidden: Sequence[int] = (200, 200)
    nonlinearity: str = "tanh"
    output: Literal["identity", "sigmoid"] = "sigmoid"
    sigma: float = 1.0
    samples: int = 1
    kept: int = 0
    bias: Literal["zeros", "mean"] = "mean"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae, hidden=self.hidden, samples=self.samples)
        layers.check_choice("nonlinearity", self.nonlinearity, layers.NONLINEARITIES)
        layers.check_choice("output", self.output, ("identity", "sigmoid"))
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        if not 0 <= self.kept <= self.samples:
            raise ValueError(f"kept={self.kept}: from 0 to samples={self.samples}")
        if self.sigma <= 0:
            raise ValueError(f"sigma={self.sigma}: it must be above 0")
        super().__post_init__()

    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and what the terms need of a batch."""
        encoder, decoder = self._parameters(x)
        mean, log_var = self._posterior(encoder, x)
        extras = {"mean": mean, "log_var": log_var}
        if context.train:
            noise = jax.random.normal(context.key, (len(x), self.samples, self.d_sae))
        else:
            noise = jnp.zeros((len(x), 1, self.d_sae))
        if self.kept and context.train:
            log_w = jax.lax.stop_gradient(self._weigh(decoder, mean, log_var, noise, x))
            noise = _choose(jax.random.fold_in(context.key, 2), noise, log_w, self.kept)
            extras["log_weights"] = log_w
        z, log_ratio = _draw(mean, log_var, noise)
        decoded = self._decode(decoder, z)
        first = decoded[:, 0]
        extras |= {"decoded": decoded, "log_ratio": log_ratio}
        if self.output == "sigmoid":
            extras["logits"] = first
        else:
            extras["sigma"] = jnp.asarray(self.sigma, jnp.float32)
        return types.Output(self._mean_of(first), codes=mean, pre=mean, extras=extras)

    def decode(self, z: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the mean of `p(x | z)`, for each z."""
        return self._mean_of(self._decode(self._parameters()[1], z))

    def log_weights(
        self, x: Float[Array, "batch d_in"], key: Array, samples: int
    ) -> Float[Array, "batch samples"]:
        """Returns `log p(x, z) - log q(z | x)` of draws z from the posterior, in nats.

        The mean of their exponentials is an unbiased estimate of p(x) (Burda et al. 2015).

        Args:
          x: examples.
          key: typed PRNG key `[]`.
          samples: draws for each example.
        """
        encoder, decoder = self._parameters()
        mean, log_var = self._posterior(encoder, x)
        noise = jax.random.normal(key, (len(x), samples, self.d_sae))
        return self._weigh(decoder, mean, log_var, noise, x)

    @nn.compact
    def _parameters(self, x: Array | None = None) -> tuple[list[_Layer], list[_Layer]]:
        """Returns the layers of the encoder, mean and log_var last, and of the decoder, in order.

        Args:
          x: `[batch, d_in]`, examples for the bias of the output, where it is about to be made.
        """
        zeros = nn.initializers.zeros
        centre = jnp.zeros(self.d_in) if x is None or self.bias == "zeros" else x.mean(axis=0)
        last = zeros if x is None else layers.output_bias(self.bias, self.output, x)
        widths = [self.d_in, *self.hidden]
        inner = layers.initializer(self.nonlinearity)
        outer = layers.initializer("identity")
        depth = len(self.hidden)

        def beside_code(name: str, init: Any, shape: tuple[int, int], bias: Any) -> _Layer:
            return {
                "w": self.param(f"w_{name}", init, shape),
                "b": self.param(f"b_{name}", bias, (shape[1],)),
            }

        def further_out(name: str, init: Any, shape: tuple[int, int], bias: Any) -> _Layer:
            def make(key: Array) -> _Layer:
                w = init(key, shape)
                return {"w": w, "b": -centre @ w if name == "enc_0" else bias(key, (shape[1],))}

            return self.param(name, make)

        encoder = [
            further_out(f"enc_{i}", inner, (widths[i], widths[i + 1]), zeros) for i in range(depth)
        ]
        encoder += [
            beside_code(name, outer, (widths[-1], self.d_sae), zeros) for name in ("enc", "log_var")
        ]
        decoder = []
        for i in range(depth, -1, -1):
            init, bias = (inner, zeros) if i else (outer, last)
            if i == depth:
                decoder.append(beside_code("dec", init, (self.d_sae, widths[i]), bias))
            else:
                shape = (widths[i + 1], widths[i])
                decoder.append(further_out(f"dec_{i}", init, shape, bias))
        return encoder, decoder

    def _posterior(self, encoder: list[_Layer], x: Array) -> tuple[Array, Array]:
        """Returns mean and log variance, each `[batch, d_sae]`."""
        *hidden, mean, log_var = encoder
        for layer in hidden:
            x = layers.NONLINEARITIES[self.nonlinearity](_linear(layer, x))
        return _linear(mean, x), _linear(log_var, x)

    def _decode(self, decoder: list[_Layer], z: Array) -> Array:
        """Returns logits or means `[..., d_in]`."""
        *hidden, last = decoder
        for layer in hidden:
            z = layers.NONLINEARITIES[self.nonlinearity](_linear(layer, z))
        return _linear(last, z)

    def _weigh(
        self, decoder: list[_Layer], mean: Array, log_var: Array, noise: Array, x: Array
    ) -> Array:
        """Returns `log p(x, z) - log q(z | x)` of the draws that `noise` makes, `[batch, k]`."""
        z, log_ratio = _draw(mean, log_var, noise)
        sigma = None if self.output == "sigmoid" else self.sigma
        return log_ratio + likelihood.log_likelihood(x[:, None], self._decode(decoder, z), sigma)

    def _mean_of(self, decoded: Array) -> Array:
        return layers.NONLINEARITIES[self.output](decoded)


def _draw(mean: Array, log_var: Array, noise: Array) -> tuple[Array, Array]:
    """Returns draws z `[batch, k, d_sae]` and `log p(z) - log q(z | x)` `[batch, k]`.

    With z = mean + sd noise the two normalising constants cancel, and the posterior's exponent is
    the noise's own.
    """
    log_var = log_var[:, None]
    z = mean[:, None] + jnp.exp(0.5 * log_var) * noise
    return z, 0.5 * (log_var + noise**2 - z**2).sum(axis=-1)


def _choose(key: Array, noise: Array, log_w: Array, kept: int) -> Array:
    """Returns `kept` draws of each example, `[batch, kept, d_sae]`, by systematic resampling.

    A draw of share w~ of the weight is chosen w~ `kept` times on average, and never a whole time
    more or less than that.
    """
    place = (jnp.arange(kept)[None] + jax.random.uniform(key, (len(noise), 1))) / kept
    up_to = jnp.cumsum(jax.nn.softmax(log_w, axis=1), axis=1)[:, None, :-1]
    index = (up_to < place[:, :, None]).sum(axis=-1)
    return jnp.take_along_axis(noise, index[:, :, None], axis=1)


def _linear(layer: _Layer, x: Array) -> Array:
    """Returns `x w + b` of an x with any leading axes, which the product sees as one."""
    rows = x.reshape(-1, x.shape[-1]) @ layer["w"] + layer["b"][None]
    return rows.reshape(*x.shape[:-1], -1)


Model = VariationalAutoencoder
