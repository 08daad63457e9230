"""Matrix products of a training step alone: what no dense step can be faster than."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def encoder(batch: int, d_in: int, d_sae: int, dtype: Any = jnp.float32) -> Callable[[int], None]:
    """Returns what multiplies a batch by the encoder so many times, `x w_enc`."""
    x, w_enc = _operands(batch, d_in, d_sae, dtype)

    @jax.jit
    def product(x: jax.Array, w_enc: jax.Array) -> jax.Array:
        return jnp.matmul(x, w_enc, preferred_element_type=jnp.float32)

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(product(x, w_enc))

    return run


def five(batch: int, d_in: int, d_sae: int, dtype: Any = jnp.float32) -> Callable[[int], None]:
    """Returns what does the five products of so many dense steps: two forward, three back.

    One program, as the step is one; each product waits for the one before and none is left out.
    """
    x, weights = _operands(batch, d_in, d_sae, dtype)

    def times(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, preferred_element_type=jnp.float32)

    @jax.jit
    def products(w_enc: jax.Array, w_dec: jax.Array, steps: jax.Array) -> Any:
        def body(_: jax.Array, carry: Any) -> Any:
            w_enc, w_dec = carry
            codes = times(x, w_enc).astype(dtype)
            residual = times(codes, w_dec).astype(dtype)
            back = times(residual, w_dec.T).astype(dtype)
            w_enc -= (1e-6 * times(x.T, back)).astype(dtype)
            w_dec -= (1e-6 * times(codes.T, residual)).astype(dtype)
            return w_enc, w_dec

        return jax.lax.fori_loop(0, steps, body, (w_enc, w_dec))

    return lambda steps: jax.block_until_ready(products(weights, weights.T, steps))


def _operands(batch: int, d_in: int, d_sae: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (batch, d_in))
    weights = jax.random.normal(keys[1], (d_in, d_sae)) * d_in**-0.5
    return x.astype(dtype), weights.astype(dtype)
