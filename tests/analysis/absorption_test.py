"""Absorption and sparse probing on codes whose latents were planted."""

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import absorption, probe, sparse_probe

D_IN, N = 12, 600


def _world(seed=0):
    """A parent, on in half of the examples; two of its three children; five other features."""
    rng = np.random.RandomState(seed)
    features = np.linalg.qr(rng.randn(D_IN, D_IN))[0][:8]
    parent = rng.rand(N) < 0.5
    child = rng.randint(0, 3, N)  # 0: none of the two.
    codes = np.zeros((N, 8))
    codes[:, 0] = parent
    for i in (1, 2):
        codes[:, i] = parent & (child == i)
    codes[:, 3:] = rng.rand(N, 5) < 0.3
    codes *= 1 + 0.1 * rng.rand(N, 8)
    return codes, features, parent


def _absorbed(codes, features):
    """Children write the parent too, and the parent is silent where one of them speaks."""
    codes, rows = codes.copy(), features.copy()
    spoken = (codes[:, 1:3] > 0).any(axis=1)
    rows[1:3] += rows[:1]
    codes[spoken, 0] = 0
    return codes, rows


def test_a_true_dictionary_absorbs_nothing():
    codes, features, parent = _world()
    main = absorption.main_latents(codes, parent)
    assert main == [0]
    found = absorption.of_class(codes @ features, codes, parent, features, main)
    assert (found.fraction, found.full) == (0.0, 0.0)
    assert found.examples == parent.sum()


def test_children_that_speak_for_their_parent_absorb_it_where_they_speak():
    codes, features, parent = _world()
    x = codes @ features
    wrong, rows = _absorbed(codes, features)
    found = absorption.of_class(x, wrong, parent, rows, [0])
    spoken = (wrong[:, 1:3] > 0).any(axis=1)[parent].mean()
    assert found.full == pytest.approx(spoken, abs=0.01)
    assert found.fraction == pytest.approx(spoken, abs=0.01)


def test_latents_that_share_a_class_are_all_its_own():
    codes, features, parent = _world()
    wrong, _ = _absorbed(codes, features)
    assert sorted(absorption.main_latents(wrong, parent)) == [0, 1, 2]


def test_fractions_are_those_of_the_formula():
    cosines = np.asarray([0.5, 0.5, 0.05, 0.5, 0.5, 0.5])
    projections = np.full(6, 10.0)
    shares = np.asarray(
        [
            [10.0, 9.0, 9.0, 0.0, 0.0, 0.0],  # The main latent says it all.
            [0.0, 3.9, 9.0, 0.0, 0.0, 0.0],  # What could absorb says too little.
            [0.0, 5.0, 0.0, 0.0, 0.0, 0.0],  # All of it is absorbed.
            [4.0, 4.0, 0.0, 0.0, 0.0, 0.0],  # Half of what is said.
            [4.0, 9.0, 0.0, 0.0, 0.0, 0.0],  # No more than what was left counts: 6 of 10.
            [2.0, 2.0, 0.0, 2.0, 2.0, 2.0],  # Three at most: 6 of 8.
        ]
    )
    found = absorption._fraction(shares, projections, cosines, [0])
    np.testing.assert_allclose(found, [0, 0, 1, 0.5, 0.6, 0.75])


def test_full_absorption_is_by_one_aligned_latent_while_the_main_ones_are_silent():
    cosines = np.asarray([0.9, 0.5, 0.02])
    codes = np.asarray([[0, 5.0, 0], [1e-3, 5.0, 0], [0, 0, 50.0], [0, 3.9, 0], [0, 5.0, 0]])
    shares = codes * np.asarray([1.0, 1.0, 0.2])
    projections = np.asarray([10.0, 10.0, 10.0, 10.0, -1.0])
    found = absorption._full(codes, shares, projections, cosines, [0])
    assert found.tolist() == [True, False, False, False, False]


def test_one_latent_tells_a_class_that_it_stands_for_and_random_ones_do_not():
    codes, features, parent = _world()
    label = parent.astype(int)
    train, test = (probe.Examples(codes[p], label[p]) for p in (slice(0, 400), slice(400, N)))
    found = sparse_probe.accuracies(train, test, (1, 3))
    assert found == {1: 1.0, 3: 1.0}
    mixed = codes @ np.random.RandomState(1).randn(8, 40)
    train, test = (probe.Examples(mixed[p], label[p]) for p in (slice(0, 400), slice(400, N)))
    worse = sparse_probe.accuracies(train, test, (1, 40))
    assert 0.5 < worse[1] < 0.95 < worse[40]


def test_bad_asks_are_told():
    codes, _, parent = _world()
    examples = probe.Examples(codes, parent.astype(int))
    with pytest.raises(errors.DataError, match="k=9: it must be from 1 to 8"):
        sparse_probe.accuracies(examples, examples, (1, 9))
    few = probe.Examples(codes, (np.arange(N) < 3).astype(int))
    with pytest.raises(errors.DataError, match="class 0 has 597 examples and 3 others"):
        sparse_probe.accuracies(few, few)
    with pytest.raises(errors.DataError, match="tells no example"):
        absorption.of_class(0 * codes, codes, np.arange(N) < 3, np.eye(8), [0])
