r"""The cross-layer transcoder: latents that read one layer and write that layer and all after it.

  pre^l   = x^l w_enc^l + b_enc^l,   codes = activation(pre)           of all layers side by side
  y_hat^l = sum_{l' <= l} codes^{l'} w_dec^{l' -> l} + b_dec^l
  norm_i  = ||(w_dec^{l' -> l'}_i, ..., w_dec^{l' -> L}_i)||           of a latent's whole row

(Ameisen, Lindsey et al. 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models",
with JumpReLU, `tanh` and `pre_activation`.) A computation that goes on over layers needs one latent
instead of one in each. Without `cross` each layer's latents write that layer alone: as many
transcoders as there are layers, trained together.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import geometry

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class CrossLayerTranscoder(nn.Module):
    """L encoders and the L (L + 1) / 2 decoders that there are.

    Parameters: `b_dec` `[d_out]` and for each layer `layer_0`, `layer_1`, ... its `w_enc` `[d, n]`,
    `b_enc` `[n]` and `w_dec` `[n, writes * d_out / L]`, whose rows are what latents write to their
    own layer and those after it, side by side; n is d_sae / L. Columns of `w_enc` start with norm 1
    and rows of `w_dec` with `decoder_norm`, in random directions; biases start at 0. Extras:
    "decoder_norms" `[d_sae]`.

    Attributes:
      d_in: numbers that all layers read.
      d_out: numbers that all layers write.
      d_sae: number of latents of all layers, those of the first layer first.
      activation: pre-activations of all layers to codes, a module of `sae_jax.activations`.
      grid: `(L, d)`, d being what one layer reads.
      cross: whether latents write later layers too.
      decoder_norm: norm of a latent's whole row at the start.
    """

    d_in: int
    d_out: int
    d_sae: int
    activation: nn.Module
    grid: tuple[int, ...] | None
    cross: bool = True
    decoder_norm: float = 1.0

    def __post_init__(self) -> None:
        """Refuses data without layers and sizes that layers cannot share."""
        layers.check_sizes(d_sae=self.d_sae)
        if self.grid is None or len(self.grid) != 2:
            raise ValueError("clt needs examples of several layers: this data set has none")
        for field, size in (("d_sae", self.d_sae), ("d_out", self.d_out)):
            if size % self.grid[0]:
                raise ValueError(f"{field}={size}: {self.grid[0]} layers cannot share it equally")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns what all layers write for a batch, codes and pre-activations."""
        assert self.grid is not None
        count = self.grid[0]
        each = [self.param(f"layer_{place}", self._layer, place) for place in range(count)]
        b_dec = self.param("b_dec", nn.initializers.zeros, (self.d_out,))
        read = jnp.split(x, count, axis=1)
        pre = jnp.concatenate(
            [x @ p["w_enc"] + p["b_enc"][None] for x, p in zip(read, each, strict=True)], axis=1
        )
        codes = self.activation(pre, context)
        norms = jnp.concatenate([geometry.norms(p["w_dec"])[:, 0] for p in each])
        y_hat = self._written(codes, [p["w_dec"] for p in each], b_dec)
        return types.Output(y_hat, codes, pre, {"decoder_norms": norms})

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_out"]:
        """Returns what codes write to all layers."""
        assert self.grid is not None
        params = self.variables["params"]
        rows = [params[f"layer_{place}"]["w_dec"] for place in range(self.grid[0])]
        return self._written(codes, rows, params["b_dec"])

    def _written(self, codes: Array, rows: list[Array], b_dec: Array) -> Array:
        """Returns the sum of what the latents of each layer write, each from its own layer on."""
        y_hat = jnp.broadcast_to(b_dec[None], (len(codes), self.d_out))
        for place, (f, w_dec) in enumerate(
            zip(jnp.split(codes, len(rows), axis=1), rows, strict=True)
        ):
            start = place * self.d_out // len(rows)
            y_hat = y_hat.at[:, start : start + w_dec.shape[1]].add(f @ w_dec)
        return y_hat

    def _layer(self, key: Array, place: int) -> dict[str, Array]:
        """Returns what belongs to the latents of one layer, as it starts."""
        assert self.grid is not None
        count, d = self.grid
        n, written = self.d_sae // count, count - place if self.cross else 1
        reads, writes = jax.random.split(key)
        shape = (n, written * self.d_out // count)
        return {
            "w_enc": layers.directions(1.0)(reads, (n, d)).T,
            "b_enc": jnp.zeros(n),
            "w_dec": layers.directions(self.decoder_norm)(writes, shape),
        }


Model = CrossLayerTranscoder
