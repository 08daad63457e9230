"""A dictionary whose rows stay near the data: mixtures of points of it, and a little besides.

  w_dec = exp(log_scale) (softmax(mixing) points + slack),      ||slack_i|| <= delta
  pre   = (x - b_dec) w_enc + b_enc,   codes = activation(pre),   x_hat = codes w_dec + b_dec

RA-SAE (Fel et al. 2025, arXiv 2502.12892): `w_dec = (W C + Lambda) exp(m)`, rows of W on the
simplex, C points of the data. Rows near the convex hull of the data are much the same whatever the
seed. Points are k-means centres of the examples that `init` sees, less `b_dec`, and lie in the
stats. The authors project W after each step; here it is a softmax, and a slack that is too long is
scaled to norm delta where it is used.
"""

import math
from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.models import layers
from sae_jax.ops import geometry, kmeans, linear, rounding, sparse

LATENT_AXES = {"w_enc": 1, "b_enc": 0, "mixing": 0, "slack": 0, "threshold": 0}

_OWN = 0.9  # What each row starts with of one point; of the others it has equal parts.


class Archetypal(nn.Module):
    """A linear encoder and a decoder made of points; `dictionary` gives its rows.

    Extras: "w_dec" `[d_sae, d_in]`, the same.

    Attributes:
      d_in: width of the input.
      d_sae: number of latents.
      activation: pre-activations to codes, a module of `sae_jax.activations`.
      points: how many centres rows are mixtures of; 2 or more.
      delta: largest norm of what a row has besides, before it is scaled; 0 or more.
      bias: how `b_dec` starts: "zeros", or the "mean" of the examples that `init` sees.
    """

    d_in: int
    d_sae: int
    activation: nn.Module
    points: int
    delta: float = 1.0
    bias: Literal["zeros", "mean"] = "zeros"

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be and words that name no choice."""
        layers.check_sizes(d_sae=self.d_sae)
        layers.check_choice("bias", self.bias, ("zeros", "mean"))
        if self.points < 2:
            raise ValueError(f"points={self.points}: it must be 2 or more")
        if self.delta < 0:
            raise ValueError(f"delta={self.delta}: it must be 0 or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "batch d_in"], context: types.Context) -> types.Output:
        """Returns reconstruction, codes and pre-activations of a batch."""
        b_dec = self.param("b_dec", layers.centre(self.bias), x)
        points = self.variable("stats", "points", self._points, x - b_dec[None]).value
        mixing = self.param("mixing", self._mixing)
        slack = self.param("slack", nn.initializers.zeros, (self.d_sae, self.d_in))
        log_scale = self.param("log_scale", nn.initializers.zeros, ())
        w_dec = self._rows(mixing, slack, log_scale, points)
        b_enc = self.param("b_enc", nn.initializers.zeros, (self.d_sae,))
        w_enc = self.param("w_enc", _inverse, w_dec)
        pre = types.Pre(linear.encode(x, b_dec, w_enc, b_enc), x, b_dec, w_enc, b_enc)
        codes = layers.activate(self.activation, pre, context)
        x_hat = sparse.product(codes, w_dec) + b_dec[None]
        return types.Output(x_hat, codes, pre, {"w_dec": w_dec})

    def decode(self, codes: Float[Array, "batch d_sae"]) -> Float[Array, "batch d_in"]:
        """Returns the reconstruction that codes stand for."""
        return codes @ self.dictionary() + self.variables["params"]["b_dec"][None]

    def dictionary(self) -> Float[Array, "d_sae d_in"]:
        """Returns the rows of the decoder."""
        params, stats = self.variables["params"], self.variables["stats"]
        mixing, slack, log_scale = (params[name] for name in ("mixing", "slack", "log_scale"))
        return self._rows(mixing, slack, log_scale, stats["points"])

    def _rows(self, mixing: Array, slack: Array, log_scale: Array, points: Array) -> Array:
        slack = slack * jnp.minimum(self.delta / geometry.norms(slack), 1.0)
        convex = jax.nn.softmax(rounding.widened(mixing), axis=1) @ points
        return jnp.exp(log_scale) * (convex + slack)

    def _points(self, x: Array) -> Array:
        return kmeans.centres(self.make_rng("params"), x, self.points)

    def _mixing(self, key: Array) -> Array:
        """Returns logits by which each row is mostly one point, and points take turns."""
        del key
        own = jax.nn.one_hot(jnp.arange(self.d_sae) % self.points, self.points)
        return math.log(_OWN / (1 - _OWN) * (self.points - 1)) * own


def _inverse(key: Array, w_dec: Array) -> Array:
    """Returns an encoder that gives a row of the decoder the code 1."""
    del key
    return (w_dec / geometry.norms(w_dec) ** 2).T


Model = Archetypal
