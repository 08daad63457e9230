from types import SimpleNamespace

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import directions


def test_logits_are_of_unit_rows_less_their_mean():
    rng = np.random.RandomState(0)
    rows, matrix = rng.randn(300, 6).astype(np.float32), rng.randn(6, 40).astype(np.float32)
    rows[7] = 0
    up, promoted, down, suppressed = directions.logits(rows, matrix, 5)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    effect = (rows / np.where(norms, norms, 1)).astype(np.float64) @ matrix
    effect -= effect.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(up, -np.sort(-effect, axis=1)[:, :5], atol=1e-5)
    np.testing.assert_allclose(down, np.sort(effect, axis=1)[:, :5], atol=1e-5)
    np.testing.assert_array_equal(promoted[8], np.argsort(-effect[8])[:5])
    np.testing.assert_array_equal(suppressed[8], np.argsort(effect[8])[:5])
    assert not up[7].any()


def test_the_nearest_rows_are_others():
    rng = np.random.RandomState(1)
    rows = rng.randn(300, 4).astype(np.float32)
    rows[290] = 3 * rows[5]
    cosine, found = directions.nearest(rows, 2)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = unit @ unit.T - 3 * np.eye(300)
    np.testing.assert_array_equal(found, np.argsort(-wanted, axis=1)[:, :2])
    assert (found[5, 0], found[290, 0]) == (290, 5)
    np.testing.assert_allclose(cosine[5, 0], 1, rtol=1e-6)
    assert directions.nearest(rows[:3], 8)[1].shape == (3, 2)


def test_the_output_matrix_of_other_models_is_not_known():
    with pytest.raises(errors.UserError, match="phi: the output matrix is known of"):
        directions.unembedding(SimpleNamespace(name="phi"))


def test_sites_of_the_residual_stream():
    assert directions.in_stream("resid_post.1")
    assert directions.in_stream("mlp_out.11")
    assert not directions.in_stream("mlp_in.1")
    assert not directions.in_stream("z.0")
