import numpy as np
import pytest
from sklearn import covariance

from sae_jax import errors
from sae_jax.analysis import novelty


def _encoded(rows, seed=0, d=5, d_sae=3, scale=1.0):
    rng = np.random.RandomState(seed)
    mix = np.random.RandomState(99).randn(d_sae, d_sae)
    x, noise = rng.randn(rows, d), rng.randn(rows, d)
    return novelty.Encoded(x, x + 0.1 * scale * noise, scale * rng.randn(rows, d_sae) @ mix)


def test_the_residual_is_the_squared_error_summed():
    encoded = novelty.Encoded(
        np.asarray([[1.0, 2.0], [0.0, 0.0]]), np.asarray([[0.0, 4.0], [0.0, 0.5]]), np.ones((2, 1))
    )
    np.testing.assert_allclose(novelty.residual(encoded), [5.0, 0.25])


@pytest.mark.parametrize("neighbours", [1, 4])
def test_the_latent_score_is_a_mahalanobis_distance_to_the_nearest_codes(neighbours):
    train, other = _encoded(60), _encoded(20, seed=1, scale=2.0)
    scorer = novelty.fit(train, _encoded(30, seed=2), neighbours)
    inverse = np.linalg.inv(covariance.ledoit_wolf(train.codes)[0])
    offset = other.codes[:, None] - train.codes
    distance = np.sqrt(np.einsum("ijk,kl,ijl->ij", offset, inverse, offset))
    nearest = np.sort(distance, axis=1)[:, :neighbours].mean(axis=1)
    np.testing.assert_allclose(scorer(other)["latent"], nearest, rtol=1e-8)


def test_both_adds_z_scores_of_logarithms_over_the_examples_held_out():
    train, held_out, other = _encoded(60), _encoded(30, seed=2), _encoded(20, seed=1, scale=3.0)
    scorer = novelty.fit(train, held_out)
    known, scores = scorer(held_out), scorer(other)
    expected = np.zeros(20)
    for kind in ("residual", "latent"):
        logs = np.log(known[kind])
        expected += (np.log(scores[kind]) - logs.mean()) / logs.std()
    np.testing.assert_allclose(scores["both"], expected, rtol=1e-8)
    assert list(scores) == list(novelty.KINDS)


def test_latents_that_never_were_active_and_perfect_reconstructions_give_numbers():
    train, held_out = _encoded(60), _encoded(30, seed=2)
    for encoded in (train, held_out):
        encoded.codes[:, 0] = 0
    scorer = novelty.fit(train, held_out)
    x = np.zeros((2, 5))
    odd = novelty.Encoded(x, x, np.asarray([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]))
    scores = scorer(odd)
    assert all(np.isfinite(score).all() for score in scores.values())
    assert scores["latent"][1] > scores["latent"][0]
    # A residual a million times smaller than a normal one says no more than one of 0.
    almost = novelty.Encoded(x, x + 1e-4, odd.codes)
    np.testing.assert_allclose(scorer(almost)["both"], scores["both"], rtol=1e-12)
    nothing = novelty.Encoded(np.zeros((9, 2)), np.zeros((9, 2)), np.zeros((9, 3)))
    assert np.isfinite(novelty.fit(nothing, nothing)(nothing)["both"]).all()


@pytest.mark.parametrize(
    ("n", "false_alarms", "place"),
    [
        (99, 0.01, 98),
        (199, 0.01, 197),
        (100, 0.01, 99),
        (9, 0.1, 8),
        (10, 0.5, 5),
        (999, 0.001, 998),
    ],
)
def test_the_threshold_is_the_score_at_the_place_that_conformal_prediction_says(
    n, false_alarms, place
):
    scores = np.random.RandomState(0).permutation(n).astype(float)
    assert novelty.threshold(scores, false_alarms) == place


def test_false_alarms_are_as_many_as_asked_for_and_no_more():
    n, asked = 30, 0.1
    rng = np.random.RandomState(0)
    shares = [1 - novelty.threshold(rng.rand(n), asked) for _ in range(4000)]
    # Of 31 exchangeable scores the 28th smallest is exceeded by three.
    assert np.mean(shares) == pytest.approx(3 / 31, abs=4 * np.std(shares) / np.sqrt(4000))
    assert asked - 1 / 31 < 3 / 31 <= asked


def test_too_few_examples_for_a_rate_are_refused_with_how_many_it_takes():
    with pytest.raises(errors.DataError, match="98 normal examples .* takes 99, or a rate of 0.01"):
        novelty.threshold(np.zeros(98), 0.01)
    with pytest.raises(errors.DataError, match="false_alarms=1.5"):
        novelty.threshold(np.zeros(98), 1.5)
    with pytest.raises(errors.DataError, match="4 examples to compare with"):
        novelty.fit(_encoded(4), _encoded(9))


def test_separation_counts_pairs_and_precisions():
    scores = np.asarray([0.1, 0.4, 0.35, 0.8, 0.4])
    anomalous = np.asarray([0, 0, 1, 1, 1])
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[anomalous == 1]
        for low in scores[anomalous == 0]
    ]
    got = novelty.separation(scores, anomalous)
    assert got["auroc"] == pytest.approx(np.mean(pairs))
    # Ranks: 0.8 (hit), the two at 0.4 (one hit), 0.35 (hit).
    assert got["ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    with pytest.raises(errors.DataError, match="only one kind"):
        novelty.separation(scores, np.zeros(5))
