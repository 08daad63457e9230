"""Measures of dictionaries, against literals and slow loops."""

import itertools

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.ops import dictionaries

RNG = np.random.default_rng(0)
LEARNED, TRUE = RNG.standard_normal((4, 5)), RNG.standard_normal((6, 5))


def _cos(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_mmcs_is_signed_and_looks_from_the_true_features():
    expected = np.mean([max(_cos(d, g) for d in LEARNED) for g in TRUE])
    assert dictionaries.mmcs(LEARNED, TRUE) == pytest.approx(expected)
    assert dictionaries.mmcs(-TRUE, TRUE) < 0.9
    assert dictionaries.mmcs(3 * TRUE[::-1], TRUE) == pytest.approx(1.0)


def test_mcc_is_that_of_the_best_of_all_matchings():
    best = max(
        np.mean([abs(_cos(LEARNED[i], TRUE[g])) for i, g in enumerate(chosen)])
        for chosen in itertools.permutations(range(6), 4)
    )
    assert dictionaries.mcc(LEARNED, TRUE) == pytest.approx(best)
    assert dictionaries.mcc(TRUE, LEARNED) == pytest.approx(best)
    assert dictionaries.mcc(-TRUE[::-1], TRUE) == pytest.approx(1.0)


def test_permuted_and_flipped_rows_find_their_partners():
    order = [2, 0, 3, 1]
    found = dictionaries.one_to_one(LEARNED, -5 * LEARNED[order])
    np.testing.assert_array_equal(found.learned, range(4))
    np.testing.assert_array_equal(np.asarray(order)[found.true], range(4))
    np.testing.assert_allclose(found.cosine, 1)
    assert dictionaries.shared([found]) == 1
    few = dictionaries.one_to_one(TRUE, TRUE[[4, 1]])
    np.testing.assert_array_equal([few.learned, few.true], [[1, 4], [1, 0]])


def test_shared_latents_have_one_partner_by_all_weights_and_are_alike_by_each():
    near = np.asarray([[1.0, 0, 0], [0, 0.8, 0.6], [0, -0.6, 0.8]])
    decoders = dictionaries.one_to_one(np.eye(3), near)
    np.testing.assert_allclose(decoders.cosine, [1, 0.8, 0.8])
    assert dictionaries.shared([decoders]) == 1
    assert dictionaries.shared([decoders], above=0.9) == pytest.approx(1 / 3)
    swapped = dictionaries.one_to_one(np.eye(3), np.eye(3)[[0, 2, 1]])
    assert dictionaries.shared([decoders, swapped]) == pytest.approx(1 / 3)
    weak = dictionaries.Matching(decoders.learned, decoders.true, np.asarray([0.5, 0.9, 0.7]))
    assert dictionaries.shared([decoders, weak]) == pytest.approx(1 / 3)


def test_random_dictionaries_share_nothing():
    one, other = RNG.standard_normal((2, 64, 32))
    found = dictionaries.one_to_one(one, other)
    assert 0.3 < found.cosine.mean() < 0.5
    assert dictionaries.shared([found]) == 0


def test_two_latents_of_one_feature_are_not_unique():
    learned = np.asarray([[1.0, 0.1, 0], [1, -0.1, 0], [0, 0, -1], [0, 0.1, 1]])
    np.testing.assert_array_equal(dictionaries.matched(learned, np.eye(3)), [0, 0, 2, 2])
    assert dictionaries.uniqueness(learned, np.eye(3)) == 0.5


def test_recovered_features_and_atoms():
    learned = np.asarray([[1.0, 0.05, 0], [0, -1, 0], [0.7, 0, 0.7]])
    assert dictionaries.recovered(learned, np.eye(3)) == pytest.approx(1 / 3)
    assert dictionaries.recovered(learned, np.eye(3), above=0.7) == pytest.approx(2 / 3)
    assert dictionaries.atoms_recovered(learned, np.eye(3)) == 2


def test_measures_of_one_dictionary(monkeypatch):
    monkeypatch.setattr(dictionaries, "_ROWS", 4)  # In parts, the last a short one.
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    absolute = [abs(_cos(TRUE[i], TRUE[j])) for i, j in pairs]
    assert dictionaries.c_dec(TRUE) == pytest.approx(np.mean(absolute))
    assert dictionaries.coherence(TRUE) == pytest.approx(max(absolute))
    largest = [max(_cos(TRUE[i], TRUE[j]) for j in range(6) if j != i) for i in range(6)]
    assert dictionaries.composition_rate(TRUE) == pytest.approx(np.mean(largest))
    assert dictionaries.c_dec(np.eye(5)) == 0


def test_effective_rank_counts_the_directions_that_matter():
    assert dictionaries.effective_rank(np.eye(5) * np.arange(1, 6)) == pytest.approx(5)
    assert dictionaries.effective_rank(np.ones((4, 3))) == pytest.approx(1)
    sizes = np.linalg.svd(TRUE / np.linalg.norm(TRUE, axis=1, keepdims=True), compute_uv=False)
    shares = sizes / sizes.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert dictionaries.effective_rank(TRUE) == pytest.approx(expected)
    assert dictionaries.effective_rank(np.zeros((3, 2))) == 1


def test_asymmetry():
    w_dec = np.asarray([[1.0, 0], [0, 2], [1, 1]])
    w_enc = np.asarray([[3.0, 1, -1], [0, 0, -1]])
    np.testing.assert_allclose(dictionaries.asymmetry(w_enc, w_dec), [0, 1, 2], atol=1e-12)


def test_s_dec_is_a_quantile_of_all_projections():
    x, b_dec = RNG.standard_normal((3, 5)), RNG.standard_normal(5)
    shown = sorted((d @ (row - b_dec) for d in LEARNED for row in x), reverse=True)
    for n in (1, 2, 4):
        assert dictionaries.s_dec(x, LEARNED, b_dec, n) == pytest.approx(shown[n * 3 - 1])
    with pytest.raises(errors.DataError, match="from 1 to 4 latents"):
        dictionaries.s_dec(x, LEARNED, b_dec, 5)


def test_a_row_of_zeros_is_like_nothing():
    learned = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    assert dictionaries.mcc(learned, np.eye(3)) == pytest.approx(1.0)
    assert dictionaries.c_dec(learned) == 0


def test_dictionaries_of_other_widths_are_refused():
    with pytest.raises(errors.DataError, match="rows of 5 and of 3"):
        dictionaries.mmcs(LEARNED, np.eye(3))
