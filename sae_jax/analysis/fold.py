"""The weights of an autoencoder that reads the data as they are: scale and centre folded in.

  pre   = ((x - m) A - c) w_enc + b_enc  =  x (A w_enc) + (b_enc - (m A + c) w_enc)
  x_hat = (codes w_dec + b_dec) A^-1 + m =  codes (w_dec A^-1) + (b_dec A^-1 + m)

where the normaliser is `x -> (x - m) A` and the encoder's centre c is `b_dec` or 0. Codes are the
same, to rounding. Other programs know no normaliser: this is what is written for them.
"""

from typing import NamedTuple

import jax
import numpy as np

from sae_jax import errors
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.train import step


class Folded(NamedTuple):
    """Weights of `codes = activation(x w_enc + b_enc)`, `x_hat = codes w_dec + b_dec`, float32.

    Attributes:
      w_enc: `[d_in, d_sae]`.
      b_enc: `[d_sae]`.
      w_dec: `[d_sae, d_in]`.
      b_dec: `[d_in]`.
    """

    w_enc: np.ndarray
    b_enc: np.ndarray
    w_dec: np.ndarray
    b_dec: np.ndarray


def fold(method: step.Method, state: step.State) -> Folded:
    """Returns the weights of a trained autoencoder of one hidden layer, computed in float64.

    Raises:
      UserError: it is of another kind, or its normaliser has a scale for each example.
    """
    model = method.model
    if not isinstance(model, sae.SparseAutoencoder) or model.output != "identity":
        raise errors.UserError("only a linear encoder and decoder can be folded: use models/sae.py")
    if model.rescale:
        raise errors.UserError(
            "model.rescale: codes depend on norms of rows, which folding changes"
        )
    if isinstance(method.normaliser, normalise.Example):
        raise errors.UserError(
            "the normaliser takes shift and scale from each example: no weights can hold them"
        )
    params = {name: np.asarray(value, np.float64) for name, value in _arrays(state).items()}
    shift, matrix = _affine(method, state, model.d_in)
    w_dec, b_dec = params["w_dec"], params["b_dec"]
    w_enc = _encoder(model, params)
    b_enc = params["b_enc"] if model.encoder_bias else np.zeros(model.d_sae)
    centre = b_dec if model.pre_bias else np.zeros_like(b_dec)
    back = np.linalg.inv(matrix)
    found = Folded(
        w_enc=matrix @ w_enc,
        b_enc=b_enc - (shift @ matrix + centre) @ w_enc,
        w_dec=w_dec @ back,
        b_dec=b_dec @ back + shift,
    )
    return Folded(*(array.astype(np.float32) for array in found))


def _encoder(model: sae.SparseAutoencoder, params: dict[str, np.ndarray]) -> np.ndarray:
    """Returns `w_enc` `[d_in, d_sae]`, float64; aligned as `layers.aligned` does it."""
    if model.tied:
        return params["w_dec"].T
    if not model.aligned:
        return params["w_enc"]
    free, rows = params["w_free"], params["w_dec"].T
    return free + rows * (1 - (free * rows).sum(axis=0)) / (rows**2).sum(axis=0)


def _arrays(state: step.State) -> dict[str, jax.Array]:
    return {name: value for name, value in state.params.items() if isinstance(value, jax.Array)}


def _affine(method: step.Method, state: step.State, d_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns m `[d_in]` and A `[d_in, d_in]` of `x -> (x - m) A`, float64."""
    fitted = {name: np.asarray(value, np.float64) for name, value in state.normaliser.items()}
    shift = fitted.get("mean", np.zeros(d_in))
    return shift, fitted.get("matrix", fitted.get("scale", np.ones(())) * np.eye(d_in))
