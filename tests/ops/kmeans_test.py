import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.ops import kmeans


def test_each_centre_is_the_mean_of_the_rows_nearest_to_it():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2)) + 20 * rng.integers(0, 2, (300, 2))
    found = np.asarray(kmeans.centres(jax.random.key(0), jnp.asarray(x, jnp.float32), 4, 30))
    nearest = ((x[:, None] - found[None]) ** 2).sum(axis=2).argmin(axis=1)
    for i in range(4):
        np.testing.assert_allclose(found[i], x[nearest == i].mean(axis=0), rtol=1e-4)


def test_with_fewer_rows_than_clusters_each_centre_is_a_row():
    x = jnp.asarray([[0.0, 1.0], [5.0, 5.0]])
    found = np.asarray(kmeans.centres(jax.random.key(0), x, 6))
    assert {tuple(row) for row in found} <= {(0.0, 1.0), (5.0, 5.0)}
