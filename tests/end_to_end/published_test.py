"""What the README promises beside published numbers: `pytest -m slow`, hours.

Seed 0 of the rows that promises are about, with what `experiments.figure` left in `runs/tables` if
it is there.
"""

import statistics

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


def test_an_l0_that_is_too_low_or_too_high_mixes_features():
    found = _table("sparse_but_wrong", *(f"k = {k}" for k in (5, 7, 9, 11, 13, 15, 18)))
    assert min(found, key=lambda label: found[label]["c_dec"]) == "k = 11"
    assert found["k = 5"]["mse"] < 0.75 * found["k = 5"]["mse_true"]
    module = tables.find("sparse_but_wrong")
    right = next(row for row in module.ROWS if row.label == "k = 11")
    seeds = (
        tables.measured("sparse_but_wrong", module, right, seed, tables.ROOT)["mcc"]
        for seed in right.seeds
    )
    assert statistics.median(seeds) >= 0.99


def test_five_features_in_two_dimensions_are_a_pentagon():
    found = _table("superposition", "p = 0.05")["p = 0.05"]
    assert found["features"] == 5
    assert found["least"] >= 69
    assert found["largest"] <= 75
    assert found["norm"] == pytest.approx(1.13, abs=0.03)


def test_prefixes_keep_a_parent_from_being_absorbed():
    plain, prefixes = "ReLU + L1", "Matryoshka, random prefixes"
    found = {label: row["parent_recall"] for label, row in _table("tree", plain, prefixes).items()}
    assert found[plain] < 0.5
    assert found[prefixes] > 0.95


def test_topk_recovers_features_where_others_reconstruct_without_them():
    rows = _table("sanity_checks", "TopK", "BatchTopK", "JumpReLU")
    assert rows["TopK"]["recovered"] >= 0.99
    for other in ("BatchTopK", "JumpReLU"):
        assert rows[other]["recovered"] < 0.05
        assert rows[other]["explained"] == pytest.approx(0.67, abs=0.015)


def test_best_reconstructed_is_not_best_understood():
    labels = ("L1", "TopK", "BatchTopK", "Matryoshka", "JumpReLU", "matching pursuit")
    rows = _table("synth_sae_bench", *labels)
    f1 = {label: row["f1"] for label, row in rows.items()}
    assert f1["Matryoshka"] > f1["BatchTopK"] > f1["L1"]
    assert min(f1, key=lambda label: f1[label]) == "matching pursuit"
    assert max(rows, key=lambda label: rows[label]["ev"]) == "matching pursuit"


def test_matching_pursuit_finds_the_atoms_of_k_svd():
    label = "matching pursuit, 3 steps"
    assert _table("ksvd", label)[label]["atoms"] >= 45
