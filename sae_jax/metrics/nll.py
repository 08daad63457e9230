"""Negative log-likelihood by importance sampling, in nats per example, summed over d.

  -log p(x) ~ -log (1/k) sum_i w_i,   w_i = p(x, z_i) / q(z_i | x),   z_i drawn from q(z | x)

An upper bound on average, tight as k grows; k = 5,000 is what papers report (Burda et al. 2015,
arXiv:1509.00519, section 5). The mean of the log w_i gives the evidence lower bound beside it.

Each example's noise is a function of the example, so no number depends on how a split is cut into
batches. For models with `log_weights` whose input is the data: `config.normaliser.name="none"`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sae_jax import types
from sae_jax.ops import murmur

_CHUNK = 10  # Draws at once for each example of a batch: what is decoded stays in the caches.
MEANING = {
    "nll": "-log p(x) of an example, nats, by importance sampling",
    "negative_elbo": "the bound on it that single draws give, nats",
}


def sums(
    batch: types.Batch,
    output: types.Output,
    reference: Float[Array, "*shape"],
    *,
    model: types.Bound,
    samples: int = 5000,
) -> dict[str, jax.Array]:
    """Returns what one batch adds: examples, negative log-likelihoods and bounds.

    Draws come in chunks and only a running logsumexp is kept, so memory does not grow with them;
    about 100 examples in a batch are fastest.

    Args:
      batch: its input is what is explained.
      output: not read.
      reference: not read.
      model: its `log_weights` is called.
      samples: draws for each example.
    """
    del output, reference
    mask = types.mask(batch)
    chunk = _largest_divisor(samples, _CHUNK)
    keys = _keys(batch.x)

    def log_weights(x: jax.Array, key: jax.Array) -> jax.Array:
        return model.call("log_weights", x[None], key, chunk)[0]

    def add(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        log_w = jax.vmap(log_weights)(batch.x, jax.vmap(jax.random.fold_in, (0, None))(keys, i))
        return jnp.logaddexp(carry[0], jax.nn.logsumexp(log_w, axis=1)), carry[1] + log_w.sum(1)

    start = jnp.full(batch.size, -jnp.inf), jnp.zeros(batch.size)
    log_sum, total = jax.lax.fori_loop(0, samples // chunk, add, start)
    # Where, not times: the likelihood of padding may be infinite.
    nll = jnp.where(mask > 0, jnp.log(samples) - log_sum, 0.0)
    bound = jnp.where(mask > 0, -total / samples, 0.0)
    return {"n": mask.sum(), "nll": nll.sum(), "bound": bound.sum()}


def finish(totals: dict[str, Any]) -> dict[str, float]:
    """Returns `nll`, and `negative_elbo`, the bound that a single draw gives."""
    return {
        "nll": float(totals["nll"] / totals["n"]),
        "negative_elbo": float(totals["bound"] / totals["n"]),
    }


def _keys(x: jax.Array) -> jax.Array:
    """Returns a key for each example, made of its bits: typed PRNG keys `[batch]`."""
    place = jnp.arange(x.shape[1], dtype=jnp.uint32)[None]
    word = murmur.mix(jax.lax.bitcast_convert_type(x, jnp.uint32) + murmur.mix(place))
    return jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(0), word.sum(axis=1, dtype=jnp.uint32)
    )


def _largest_divisor(n: int, limit: int) -> int:
    return next(size for size in range(min(n, limit), 0, -1) if n % size == 0)
