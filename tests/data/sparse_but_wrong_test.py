"""The world of "Sparse but Wrong": its known numbers, and that an example is always the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base, sparse_but_wrong


@pytest.fixture(scope="module")
def data():
    return sparse_but_wrong.load("test")


@pytest.fixture(scope="module")
def batch(data):
    raw = {name: jnp.asarray(rows) for name, rows in data.rows(np.arange(50_000)).items()}
    return jax.device_get(jax.jit(data.decode)(raw))


def test_so_many_features_are_on_and_so_much_is_there(batch):
    probabilities = sparse_but_wrong.probabilities(50)
    np.testing.assert_allclose((batch.truth > 0).mean(axis=0), probabilities, atol=0.01)
    assert (batch.truth > 0).sum(axis=1).mean() == pytest.approx(10.95, abs=0.06)
    assert (batch.x**2).sum(axis=1).mean() == pytest.approx(10.9525 * (1 + 0.15**2), rel=0.01)


def test_the_true_dictionary_with_five_latents_leaves_what_is_known(batch):
    """The five largest an example, over the whole batch, are kept: computed elsewhere as 4.767."""
    codes = batch.truth
    kept = np.sort(codes.ravel())[-5 * len(codes) :].min()
    left = np.where(codes >= kept, 0, codes)
    assert (left**2).sum(axis=1).mean() == pytest.approx(4.767, rel=0.02)


def test_features_are_orthonormal_and_make_the_examples(data, batch):
    np.testing.assert_allclose(data.features @ data.features.T, np.eye(50), atol=1e-5)
    np.testing.assert_allclose(batch.x, batch.truth @ data.features, atol=1e-4)


def test_correlations_are_a_correlation_matrix_of_both_signs():
    matrix = sparse_but_wrong.correlations(50, 42)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_array_equal(matrix, sparse_but_wrong.correlations(50, 42))
    assert np.linalg.eigvalsh(matrix).min() > 0
    pairs = matrix[np.triu_indices(50, 1)]
    assert 0.3 < (pairs > 0.1).mean() < 0.45
    assert 0.3 < (pairs < -0.1).mean() < 0.45


def test_what_fires_together_is_what_the_copula_says(batch):
    on = (batch.truth > 0).astype(float)
    found = np.corrcoef(on.T)[np.triu_indices(50, 1)]
    wanted = sparse_but_wrong.correlations(50, 42)[np.triu_indices(50, 1)]
    assert np.corrcoef(found, wanted)[0, 1] > 0.97


def test_an_example_is_the_same_in_every_batch_and_every_part(data, batch):
    part = sparse_but_wrong.load("test[100:200]")
    assert part.length == 100
    np.testing.assert_allclose(base.first(part, 3).x, batch.x[100:103], atol=1e-5)
    alone = jax.jit(data.at)(jax.tree.map(jnp.asarray, data.source), jnp.asarray([101, 7]))
    np.testing.assert_allclose(alone.x, batch.x[[101, 7]], atol=1e-5)
    other = base.first(sparse_but_wrong.load("train"), 3)
    assert np.abs(other.x - batch.x[:3]).max() > 0.1
    assert data.fingerprint() == sparse_but_wrong.load("test").fingerprint()
    assert data.fingerprint() != sparse_but_wrong.load("test", seed=1).fingerprint()


def test_a_split_that_is_not_there():
    with pytest.raises(errors.DataError, match="train, valid, test"):
        sparse_but_wrong.load("dev")
    with pytest.raises(errors.DataError, match="has 0 examples"):
        sparse_but_wrong.load("test[5:5]")
