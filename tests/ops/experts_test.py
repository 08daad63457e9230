import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import experts

D_IN, BLOCK, N = 3, 4, 5


@pytest.mark.parametrize("share", ["even", "uneven", "one gets all"])
@pytest.mark.parametrize("batch", [1, 7, 32, 150])
def test_each_example_meets_the_columns_of_its_expert(batch, share):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((batch, D_IN)), rng.standard_normal((D_IN, N * BLOCK))
    p = {"even": None, "uneven": [0.9, 0.06, 0, 0.04, 0], "one gets all": [0, 0, 0, 1, 0]}[share]
    expert = rng.choice(N, batch, p=p)
    given = (jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), jnp.asarray(expert))
    found = jax.jit(experts.product, static_argnums=3)(*given, N)
    expected = [row @ w[:, e * BLOCK : (e + 1) * BLOCK] for row, e in zip(x, expert, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_no_gradient_passes():
    x, w = jnp.ones((2, D_IN)), jnp.ones((D_IN, N * BLOCK))
    grads = jax.grad(lambda x, w: experts.product(x, w, jnp.asarray([0, 4]), N).sum(), (0, 1))(x, w)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads)
