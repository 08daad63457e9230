r"""The crosscoder: one code for activations of several sites, layers of a model or several models.

  codes   = activation(sum_s x^s w_enc^s + b_enc)
  x_hat^s = codes w_dec^s + b_dec^s
  norm_i  = sum_s ||w_dec^s_i||                        what one unit of latent i writes

(Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing".) On the sites
side by side it is an autoencoder; what it has of its own is the norm. Under the sum of the norms of
its sites a latent pays for each site, and may leave one; under the norm of the whole row,
`sqrt(sum_s ||w_dec^s_i||^2)`, two latents of one site each cost more than one of both. With
`rescale` the activation compares what latents write, `pre norm`: BatchTopK then is that of Minder
et al. 2025 (arXiv 2504.02922).

Latents designated as shared, the first ones, have the same decoder row at all sites (Mishra-Sharma
et al. 2025, "Insights on Crosscoder Model Diffing"); `l1_designated` lets them cost less. Their row
is the mean over sites of what `w_dec` holds: the sites start equal and a mean gives each the same
gradient, but a remedy for dead latents may write another row to each.
"""

from typing import Literal

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import geometry, rounding

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "w_dec": 0, "threshold": 0}


class Crosscoder(nn.Module):
    """One encoder of all sites, one activation, one decoder to all sites.

    `w_dec` `[d_sae, sites * d]` starts in random directions, those of the sites apart, and `w_enc`
    as its transpose; biases start at 0. Extras: "decoder_norms" `[d_sae]`; with shared latents
    "shared" `[d_sae]`, 1 for these and 0 for others, and "w_dec", what codes are decoded with; with
    `rescale` "compared" `[d_sae]`, the same norms.

    Attributes:
      d_in: numbers in an example, `sites * d`.
      d_sae: number of latents.
      activation: pre-activations to codes, a module of `sae_jax.activations`.
      grid: `(sites, d)`.
      norm: of a latent's decoder row, for what is compared and what is paid: the "sum" over the
        sites of the norms there, or that of the "whole" row.
      rescale: whether the activation sees pre-activations times these norms.
      shared: how many latents have equal rows at all sites, as a share of all.
      decoder_norm: norm of a row at one site at the start.
    """

    d_in: int
    d_sae: int
    activation: nn.Module
    grid: tuple[int, ...] | None
    norm: Literal["sum", "whole"] = "sum"
    rescale: bool = False
    shared: float = 0.0
    decoder_norm: float = 0.1

    def __post_init__(self) -> None:
        """Refuses data without sites, sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae)
        layers.check_choice("norm", self.norm, ("sum", "whole"))
        if self.grid is None or len(self.grid) != 2:
            raise ValueError("crosscoder needs examples of several sites: this data set has none")
        if not 0 <= self.shared <= 1:
            raise ValueError(f"shared={self.shared}: it must be from 0 to 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        shared = self._is_shared()
        held = self.param("w_dec", self._rows, shared)
        w_dec = self._rows_of(held)
        w_enc = self.param("w_enc", lambda key: jnp.array(held.T, copy=True))
        b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        b_dec = self.param("b_dec", nn.initializers.zeros, (self.d_in,))
        norms = self._norms(w_dec)
        codes, known = layers.encode(
            self.activation,
            x,
            jnp.zeros_like(b_dec),
            w_enc,
            b_enc,
            context,
            norms if self.rescale else None,
        )
        extras = {"decoder_norms": norms}
        if self.rescale:
            extras["compared"] = norms
        if self.shared:
            extras |= {"shared": shared.astype(jnp.float32), "w_dec": w_dec}
        x_hat = layers.decode_and_pass(codes, known, w_dec)[0] + b_dec[None]
        return types.Output(x_hat, codes, known, extras)

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return codes @ self.dictionary() + self.variables["params"]["b_dec"][None]

    def dictionary(self) -> Float[Array, "d_sae d_in"]:
        """Returns the rows with which codes are decoded."""
        return self._rows_of(self.variables["params"]["w_dec"])

    def _norms(self, w_dec: Array) -> Array:
        """Returns what one unit of each latent writes, `[d_sae]`."""
        assert self.grid is not None
        rows = w_dec if self.norm == "whole" else w_dec.reshape(-1, self.grid[1])
        return geometry.norms(rows).reshape(self.d_sae, -1).sum(axis=1)

    def _rows(self, key: Array, shared: Array) -> Array:
        assert self.grid is not None
        sites, d = self.grid
        rows = layers.directions(self.decoder_norm)(key, (self.d_sae * sites, d))
        rows = rows.reshape(self.d_sae, self.d_in)
        first = jnp.tile(rows[:, :d], (1, sites))
        return jnp.where(shared[:, None], first, rows)

    def _rows_of(self, held: Array) -> Array:
        """Returns what is held, of shared latents the mean over sites at each site."""
        assert self.grid is not None
        if not self.shared:
            return held
        mean = rounding.widened(held).reshape(self.d_sae, *self.grid).mean(axis=1)
        mean = mean.astype(held.dtype)
        return jnp.where(self._is_shared()[:, None], jnp.tile(mean, (1, self.grid[0])), held)

    def _is_shared(self) -> Array:
        return jnp.arange(self.d_sae) < round(self.shared * self.d_sae)


Model = Crosscoder
