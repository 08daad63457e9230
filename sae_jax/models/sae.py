"""The autoencoder of one hidden layer: one linear encoder, an activation, one linear decoder.

  pre   = (x - b_dec) w_enc + b_enc      without `pre_bias`: x w_enc + b_enc
  codes = activation(pre)
  x_hat = codes w_dec + b_dec            in a sigmoid or a ReLU, if `output` says so

With `rescale` codes are `activation(pre n) / n`, n being the norms of the decoder rows: latents are
compared by what they would write. (SAELens trains TopK and BatchTopK so since version 6.14.)

With a ReLU and an L1 term it is the sparse autoencoder of Bricken et al. 2023 ("Towards
Monosemanticity"); with sigmoids and a KL term that of Ng 2011 (CS294A notes); with the identity and
no sparsity term it is linear and its optimum spans the principal components (Baldi & Hornik 1989);
tied, with the identity and a ReLU at its output, the toy model of Elhage et al. 2022.
"""

from typing import Literal, get_args

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.activations import jumprelu, sigmoid
from sae_jax.models import layers
from sae_jax.ops import geometry, linear

LATENT_AXES = {"w_enc": 1, "w_free": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class SparseAutoencoder(nn.Module):
    """One linear encoder, one activation, one linear decoder. A row of `w_dec` is a feature.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      activation: pre-activations to codes, a module of `sae_jax.activations`.
      tied: whether `w_enc` is the transpose of `w_dec` for good. Untied, it starts as a copy of it.
      aligned: whether encoder columns are those of a parameter `w_free`, moved along their decoder
        rows until `<e_i, d_i>` is 1 (aligned training, arXiv 2605.18629); there is no `w_enc` then.
      pre_bias: whether the encoder sees `x - b_dec` instead of `x`.
      encoder_bias: whether there is a `b_enc`, or 0 in its place.
      output: what the decoder ends in.
      weights: how `w_dec` starts. "directions": rows in random directions, of norm `decoder_norm`;
        "examples": of that norm, towards examples that `init` sees, from where `b_dec` starts;
        "uniform": from +-sqrt(6 / (d_in + d_sae + 1)), encoder and decoder apart (Ng 2011).
      decoder_norm: norm of the decoder rows at the start.
      match_norm: whether `w_enc` starts as that multiple of its copy with which reconstructions are
        on average as far from `b_dec` as the examples that `init` sees (Gao et al. 2024, arXiv
        2406.04093, appendix A.1, for TopK); decoder rows keep their norm.
      bias: how `b_dec` starts: "zeros", or the "mean" or geometric "median" of the examples that
        `init` sees.
      rescale: whether the activation sees pre-activations times the norms of their decoder rows.
      blocks: of latents, encoded one after the other in a training step, so that there are never
        all pre-activations of a batch in memory; 1: all at once; 0: as many as there must be when
        they exceed a gigabyte and the activation is a topk or abs_topk of fixed k.
      compute: the type to which operands of the products of a training step are rounded; sums,
        parameters, sparse decoding and evaluation are float32.
    """

    d_in: int
    d_sae: int
    activation: nn.Module
    tied: bool = False
    aligned: bool = False
    pre_bias: bool = True
    encoder_bias: bool = True
    output: Literal["identity", "relu", "sigmoid"] = "identity"
    weights: Literal["directions", "examples", "uniform"] = "directions"
    decoder_norm: float = 1.0
    match_norm: bool = False
    bias: layers.Centre = "zeros"
    rescale: bool = False
    blocks: int = 0
    compute: linear.Compute = "float32"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be, words that name no choice, and a norm without a match."""
        layers.check_sizes(d_sae=self.d_sae)
        layers.check_blocks(self.blocks, self.activation, self.d_sae)
        layers.check_choice("compute", self.compute, get_args(linear.Compute))
        layers.check_choice("output", self.output, ("identity", "relu", "sigmoid"))
        layers.check_choice("weights", self.weights, ("directions", "examples", "uniform"))
        layers.check_choice("bias", self.bias, get_args(layers.Centre))
        if self.match_norm and (self.tied or self.weights == "uniform"):
            raise ValueError("match_norm: it needs an encoder that starts as a copy of the decoder")
        if self.aligned and (self.tied or self.match_norm):
            raise ValueError("aligned: it fixes the encoder's scale; leave out tied and match_norm")
        if self.match_norm and self.output != "identity":
            raise ValueError(f'match_norm: it needs output="identity", not "{self.output}"')
        if self.match_norm and isinstance(self.activation, (jumprelu.JumpReLU, sigmoid.Sigmoid)):
            raise ValueError("match_norm: codes must grow as pre-activations do; choose relu, topk")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        w_dec = self.param("w_dec", self._rows, (self.d_sae, self.d_in), x)
        b_enc = jnp.zeros(self.d_sae, x.dtype)
        if self.encoder_bias:
            b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        centre = b_dec if self.pre_bias else jnp.zeros_like(b_dec)
        w_enc = w_dec.T
        if not self.tied:
            name = "w_free" if self.aligned else "w_enc"
            w_enc = self.param(name, self._encoder, x, centre, b_dec, w_dec, context)
        if self.aligned:
            w_enc = layers.aligned(w_enc, w_dec)
        norms = geometry.norms(w_dec)[:, 0] if self.rescale else None
        compute = self.compute if context.train else "float32"
        codes, known = layers.encode(
            self.activation, x, centre, w_enc, b_enc, context, norms, self.blocks, compute
        )
        product, passed = layers.decode_and_pass(codes, known, w_dec, compute)
        logits = product + b_dec[None]
        extras = {"logits": logits} if self.output == "sigmoid" else {}
        if context.train:
            extras["w_dec"] = passed
        if norms is not None:
            extras["compared"] = norms
        return types.Output(self._squash(logits), codes, known, extras)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        params = self.variables["params"]
        return self._squash(codes @ params["w_dec"] + params["b_dec"][None])

    def _squash(self, logits: Array) -> Array:
        return layers.NONLINEARITIES[self.output](logits)

    def _rows(self, key: Array, shape: tuple[int, int], x: Array) -> Array:
        if self.weights == "examples":
            offset = x - layers.centre(self.bias)(key, x)[None]
            return layers.towards_examples(key, shape, offset, self.decoder_norm)
        if self.weights == "uniform":
            bound = (6 / (self.d_in + self.d_sae + 1)) ** 0.5
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        return layers.directions(self.decoder_norm)(key, shape)

    def _encoder(
        self,
        key: Array,
        x: Array,
        centre: Array,
        b_dec: Array,
        w_dec: Array,
        context: types.Context,
    ) -> Array:
        if self.weights == "uniform":
            return self._rows(key, (self.d_in, self.d_sae), w_dec)
        if self.match_norm:
            return layers.matched(self.activation, key, x, centre, b_dec, w_dec, context)
        return layers.transposed(key, w_dec)


Model = SparseAutoencoder
