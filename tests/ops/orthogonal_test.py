"""Rows that are pushed apart, against the penalty written with all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sae_jax.ops import orthogonal


def _penalty(g):
    gram = g @ g.T
    apart = (gram**2).sum() - (jnp.diag(gram) ** 2).sum()
    return apart + len(g) * ((jnp.diag(gram) - 1) ** 2).sum()


def test_it_is_adam_on_the_penalty_over_all_pairs():
    rows = jnp.asarray(np.random.RandomState(0).randn(12, 5), jnp.float32)
    g = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    optimizer = optax.adam(0.01)
    state = optimizer.init(g)
    for _ in range(8):
        updates, state = optimizer.update(jax.jit(jax.grad(_penalty))(g), state)
        g = g + updates
    g = g / jnp.linalg.norm(g, axis=1, keepdims=True)
    np.testing.assert_allclose(orthogonal.pushed_apart(rows, 8, 0.01), g, atol=1e-5)


def test_as_many_rows_as_dimensions_become_orthogonal():
    rows = jnp.asarray(np.random.RandomState(0).randn(8, 8), jnp.float32)
    found = np.asarray(orthogonal.pushed_apart(rows, 2000, 0.01))
    np.testing.assert_allclose(found @ found.T, np.eye(8), atol=0.01)
