import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import prolu

M = np.asarray([[0.5, 2.0, -1.0, 3.0], [1.5, 0.1, 2.5, -0.2]])
B = np.asarray([-1.0, -1.0, 2.0, 0.0])
G = np.asarray([[1.0, -2.0, 3.0, 4.0], [-5.0, 6.0, 7.0, 8.0]])
ACTIVE = (M > 0) & (M + B > 0)


def _run(ste):
    def loss(m, b):
        return (prolu.prolu(m, -b, ste) * G).sum()

    arrays = (jnp.asarray(M, jnp.float32), jnp.asarray(B, jnp.float32))
    return prolu.prolu(arrays[0], -arrays[1], ste), jax.jit(jax.grad(loss, (0, 1)))(*arrays)


@pytest.mark.parametrize("ste", [False, True])
def test_it_is_the_formula_and_a_positive_bias_does_nothing(ste):
    codes, _ = _run(ste)
    np.testing.assert_allclose(codes, np.where(ACTIVE, M, 0), rtol=1e-6)
    np.testing.assert_array_equal(codes[:, 2] > 0, M[:, 2] > 0)


def test_the_first_gradient_is_that_of_relu():
    _, (to_m, to_b) = _run(ste=False)
    np.testing.assert_allclose(to_m, G * ACTIVE)
    np.testing.assert_allclose(to_b, (G * ACTIVE).sum(axis=0))


def test_the_second_gradient_is_that_of_a_straight_through_step():
    """Of `m H(m + b)` where m is positive, with 1 for the derivative of H where it is 1."""

    def step(s):
        return (s > 0) + jnp.where(s > 0, s - jax.lax.stop_gradient(s), 0.0)

    def loss(m, b):
        return (jax.nn.relu(m) * step(m + b[None]) * G).sum()

    expected = jax.jit(jax.grad(loss, (0, 1)))(
        jnp.asarray(M, jnp.float32), jnp.asarray(B, jnp.float32)
    )
    _, found = _run(ste=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    np.testing.assert_allclose(found[1], (G * M * ACTIVE).sum(axis=0), rtol=1e-5)
