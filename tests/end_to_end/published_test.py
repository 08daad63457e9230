"""What the README promises beside published numbers: `pytest -m slow`, hours.

Seed 0 of the rows that promises are about, with what `experiments.figure` left in `runs/tables` if
it is there.
"""

import pytest

from experiments import tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * 3600)]


def _table(name, *labels):
    """The numbers of rows by column, measured by the table's own file."""
    module = tables.find(name)
    rows = {row.label: row for row in module.ROWS}
    return {
        label: tables.measured(name, module, rows[label], rows[label].seeds[0], tables.ROOT)
        for label in labels or rows
    }


_AE, _SCORES = "denoising autoencoder", ("residual", "latent", "both")
_DRAWS = ("variational autoencoder", "k = 5", "k = 50")
_DEEP = ("PCA", "deep, SiLU, 20 epochs", "deep, SiLU, 60 epochs")


def test_one_digit_is_told_from_the_others():
    rows = _table("one_class", "PCA-32, residual", *(f"{_AE}, {by}" for by in _SCORES))
    found = {label: row["mean"] for label, row in rows.items()}
    assert found["PCA-32, residual"] == pytest.approx(95.5, abs=0.1)
    assert max(error for label, error in found.items() if "autoencoder" in label) >= 96.0


def test_a_deep_autoencoder_comes_to_the_published_error():
    found = {label: row["mse_sum"] for label, row in _table("deep", *_DEEP).items()}
    assert found["PCA"] == pytest.approx(13.87, abs=0.005)
    assert found["deep, SiLU, 20 epochs"] <= 4.0
    assert found["deep, SiLU, 60 epochs"] <= 3.2


def test_k_sparse_codes_are_best_at_25_or_40():
    found = {
        label: row["error"]
        for label, row in _table("k_sparse", *(f"k = {k}" for k in (10, 25, 40, 70))).items()
    }
    best = min(found, key=lambda label: found[label])
    assert best in ("k = 25", "k = 40")
    assert found[best] <= 1.7


def test_winner_take_all_codes_are_told_apart_by_a_linear_svm():
    assert _table("wta", "FC-WTA, 2,000 latents")["FC-WTA, 2,000 latents"]["error"] <= 1.5


def test_contraction_helps_a_classifier():
    found = _table("contractive", "AE", "CAE")
    assert found["CAE"]["error"] <= 1.4
    for column in ("error", "jacobian"):
        assert found["CAE"][column] < found["AE"][column]


def test_more_draws_bring_a_better_model():
    found = {label: row["nll"] for label, row in _table("iwae", *_DRAWS).items()}
    assert found["variational autoencoder"] <= 90
    assert found["k = 5"] <= found["variational autoencoder"] - 0.8
    assert found["k = 50"] <= found["variational autoencoder"] - 1.5


def test_noise_is_removed():
    found = {
        label: row["psnr_gain"]
        for label, row in _table("denoising", "noise: autoencoder", "noise: PCA").items()
    }
    assert found["noise: autoencoder"] >= 8
    assert found["noise: autoencoder"] > found["noise: PCA"]


def test_ratings_are_predicted_better_than_by_means_and_biases():
    found = {label: row["rmse"] for label, row in _table("movielens").items()}
    assert found["AutoRec, by film"] <= 0.95
    assert found["AutoRec, by film"] < min(
        found["mean of the film"], found["biases of user and film"]
    )
