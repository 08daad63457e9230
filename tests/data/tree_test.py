"""The tree of parents and children: how often each is on, and with whom."""

import jax
import numpy as np
import pytest

from sae_jax.data import base, tree

N = 50_000


@pytest.fixture(scope="module")
def data():
    return tree.load("test")


@pytest.fixture(scope="module")
def on(data):
    return np.asarray(jax.device_get(base.first(data, N).truth)) > 0


def test_each_is_on_as_often_as_is_said(data, on):
    family = [0.15, 0.03, 0.03, 0.03]
    often = np.asarray([*family, *family, *family, *[0.05] * 8])
    np.testing.assert_allclose(on.mean(axis=0), often, atol=0.005)
    assert on.sum(axis=1).mean() == pytest.approx(1.12, abs=0.02)
    np.testing.assert_array_equal(data.parents, tree.PARENTS)


def test_a_child_is_never_without_its_parent_nor_with_another_child(on):
    children = np.flatnonzero(tree.PARENTS >= 0)
    assert (on[:, tree.PARENTS[children]] | ~on[:, children]).all()
    for parent in (0, 4, 8):
        family = on[:, children[tree.PARENTS[children] == parent]]
        assert family.sum(axis=1).max() == 1
        assert family[on[:, parent]].any(axis=1).mean() == pytest.approx(0.6, abs=0.02)


def test_parents_are_independent(on):
    assert (on[:, 0] & on[:, 4]).mean() == pytest.approx(0.15**2, abs=0.003)


def test_features_are_orthogonal_and_of_norms_near_1(data):
    products = data.features @ data.features.T
    norms = np.sqrt(np.diag(products))
    np.testing.assert_allclose(products, np.diag(norms**2), atol=1e-5)
    assert 0.02 < norms.std() < 0.09
    assert norms.mean() == pytest.approx(1, abs=0.05)
