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


def test_the_gradient_is_that_of_masked_products():
    rng = np.random.default_rng(0)
    x, w, g = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((70, D_IN), (D_IN, N * BLOCK), (70, BLOCK))
    )
    expert = jnp.asarray(rng.choice(N, 70, p=[0.8, 0.1, 0, 0.1, 0]))

    def plain(x, w):
        everything = (x @ w).reshape(70, N, BLOCK)
        return (jnp.take_along_axis(everything, expert[:, None, None], axis=1)[:, 0] * g).sum()

    def dealt(x, w):
        return (experts.product(x, w, expert, N) * g).sum()

    found, expected = (jax.jit(jax.grad(of, (0, 1)))(x, w) for of in (dealt, plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )
