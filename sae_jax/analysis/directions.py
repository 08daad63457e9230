"""What decoder rows are: the directions that latents write, the tokens they favour, their kin.

A row d that is added to the residual stream x moves the logits by

  norm(x + d) W_U - norm(x) W_U,  norm(x) = x / rms(x) * g      of the final norm

of which `logits` keeps the part that d has by itself, without later blocks and without the norm's
scale: (d * g) W_U, less its mean over the vocabulary, which no probability feels. Rows are brought
to norm 1 before. (The "logit lens" of nostalgebraist 2020, of a decoder row as in Bricken et al.
2023.)
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from sae_jax import errors
from sae_jax.lm import base as lm, llama
from sae_jax.models import base as models
from sae_jax.train import step

_ROWS = 256  # At once: a vocabulary of 150,000 tokens takes 150 MB then.
# Sites whose activation is, or is added to, the residual stream.
_RESIDUAL = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")


def rows(method: step.Method, state: step.State) -> np.ndarray:
    """Returns what one unit of each latent adds to a reconstruction, float32 `[d_sae, d_out]`.

    In the scale of the data; where that depends on the example, that of an example of zeros.

    Raises:
      UserError: the model has no decoder row for each latent, or they do not add up.
    """
    params = models.with_dictionary(method.model, state.params, state.stats)
    name = type(method.model).__name__
    w_dec = params.get("w_dec")
    if w_dec is None or w_dec.ndim != 2:
        raise errors.UserError(f"{name} has no decoder row for each latent")
    if getattr(method.model, "output", "identity") != "identity":
        raise errors.UserError(
            f"the decoder rows of {name} do not add up: it has an output of its own"
        )
    scale = method.normaliser.scale(state.normaliser, jnp.zeros((1, method.model.d_in)))
    return np.asarray(scale.leave(w_dec) - scale.leave(jnp.zeros_like(w_dec)))


def unembedding(model: lm.LanguageModel) -> np.ndarray:
    """Returns g W_U, float32 `[d_model, vocab]`, the final norm's gain in the output matrix.

    Raises:
      UserError: it is not known of models of this kind.
    """
    if not isinstance(model, llama.Llama):
        raise errors.UserError(
            f"{model.name}: the output matrix is known of models of the Llama family only"
        )
    params = model.params
    matrix = params["embed"].T if model.config.tied else params["unembed"]
    gain = np.asarray(params["norm"], np.float32)[:, None]
    return gain * np.asarray(matrix, np.float32)


def in_stream(site: str) -> bool:
    """Returns whether what is written at a site is added to the residual stream as it is."""
    return lm.split(site)[0] in _RESIDUAL


def logits(
    directions: Float[np.ndarray, "d_sae d_model"],
    matrix: Float[np.ndarray, "d_model vocab"],
    n: int,
) -> tuple[np.ndarray, ...]:
    """Returns which tokens each direction promotes and suppresses most.

    Args:
      directions: brought to norm 1 here.
      matrix: of `unembedding`.
      n: tokens of either kind, at most the vocabulary.

    Returns:
      values and tokens, float32 and int32 `[d_sae, n]`, of the promoted, falling, and of the
      suppressed, rising.
    """
    return _in_parts(functools.partial(_extremes, n=n), unit(directions), jnp.asarray(matrix))


def nearest(directions: Float[np.ndarray, "d_sae d"], n: int) -> tuple[np.ndarray, ...]:
    """Returns cosine and number of the other directions nearest to each, `[d_sae, n]`, falling."""
    whole = unit(directions)
    n = min(n, len(whole) - 1)
    own = np.arange(len(whole), dtype=np.int32)
    return _in_parts(functools.partial(_kin, n=n), (whole, own), jnp.asarray(whole))


def unit(directions: np.ndarray) -> np.ndarray:
    """Returns rows of norm 1, float32; zeros stay zeros."""
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    return (directions / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _in_parts(
    function: Callable[..., tuple[Array, ...]], rows: Any, matrix: Array
) -> tuple[np.ndarray, ...]:
    """Returns what a function makes of all rows, and of a matrix, a few rows at once."""
    count = len(jax.tree.leaves(rows)[0])
    parts = [
        jax.device_get(
            function(jax.tree.map(lambda array, i=i: array[i : i + _ROWS], rows), matrix)
        )
        for i in range(0, count, _ROWS)
    ]
    return tuple(np.concatenate(found) for found in zip(*parts, strict=True))


@functools.partial(jax.jit, static_argnames="n")
def _extremes(part: Array, matrix: Array, *, n: int) -> tuple[Array, Array, Array, Array]:
    effect = jnp.matmul(part, matrix, precision="highest")
    effect = effect - effect.mean(axis=1, keepdims=True)
    promoted = jax.lax.top_k(effect, n)
    suppressed = jax.lax.top_k(-effect, n)
    return *promoted, -suppressed[0], suppressed[1]


@functools.partial(jax.jit, static_argnames="n")
def _kin(part: tuple[Array, Array], whole: Array, *, n: int) -> tuple[Array, Array]:
    rows, own = part
    cosine = jnp.matmul(rows, whole.T, precision="highest")
    column = jnp.arange(len(whole), dtype=jnp.int32)
    cosine, found = jax.lax.top_k(jnp.where(column[None] == own[:, None], -2.0, cosine), n)
    return cosine, found
