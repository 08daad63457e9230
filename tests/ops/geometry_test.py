import jax.numpy as jnp
import numpy as np

from sae_jax.ops import geometry


def _rows(seed=0):
    return np.random.RandomState(seed).randn(32, 8).astype(np.float32)


def test_norms_are_euclidean():
    rows = jnp.asarray([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(geometry.norms(rows), [[5.0], [2.0], [1e-8]], rtol=1e-6)


def test_unit_rows_keep_their_directions():
    rows = _rows() * 100
    expected = rows / np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(geometry.unit_rows(jnp.asarray(rows)), expected, atol=1e-6)


def test_a_row_of_zeros_stays_zero_and_its_neighbours_do_not_mind():
    rows = jnp.asarray([[0.0, 0.0], [0.6, 0.8]])
    np.testing.assert_allclose(geometry.unit_rows(rows), [[0.0, 0.0], [0.6, 0.8]], atol=1e-7)
    np.testing.assert_array_equal(geometry.without_parallel(rows, 0 * rows), rows)


def test_without_parallel_leaves_the_orthogonal_part():
    moves, rows = _rows(1), 7 * _rows(2)
    left = np.asarray(geometry.without_parallel(jnp.asarray(moves), jnp.asarray(rows)))
    np.testing.assert_allclose((left * rows).sum(axis=1), 0, atol=1e-4)
    taken_out = moves - left
    share = (taken_out * rows).sum(axis=1) / (rows**2).sum(axis=1)
    np.testing.assert_allclose(taken_out, share[:, None] * rows, atol=1e-5)


def test_without_parallel_by_hand():
    moves, rows = jnp.asarray([[3.0, 5.0]]), jnp.asarray([[2.0, 0.0]])
    np.testing.assert_allclose(geometry.without_parallel(moves, rows), [[0.0, 5.0]], atol=1e-6)


def test_the_median_has_the_least_sum_of_distances():
    x = np.random.RandomState(0).randn(101, 3) ** 3
    point = np.asarray(geometry.median(jnp.asarray(x, jnp.float32)), np.float64)

    def distances(at):
        return np.linalg.norm(x - at, axis=1).sum()

    for direction in np.concatenate([np.eye(3), -np.eye(3)]):
        assert distances(point) <= distances(point + 0.01 * direction) + 1e-4
    far = np.concatenate([x, np.full((3, 3), 1e4)])
    moved = np.asarray(geometry.median(jnp.asarray(far, jnp.float32)))
    assert np.abs(moved - point).max() < 0.1 < np.abs(far.mean(axis=0) - x.mean(axis=0)).min()
