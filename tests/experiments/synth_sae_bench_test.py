"""What stands beside the autoencoders of SynthSAEBench: the oracle, PCA and random directions."""

import pytest

from experiments.tables import synth_sae_bench


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth_sae_bench, "_EXAMPLES", 2000)
        rows = [row for row in synth_sae_bench.ROWS if not row.config]
        return {row.label: synth_sae_bench.measure(row, 0, None) for row in rows}


def test_the_oracle_knows_all_about_its_features(found):
    numbers = found["oracle"]
    assert [numbers[name] for name in ("f1", "mcc", "uniqueness")] == pytest.approx([1, 1, 1])
    assert numbers["l0"] == pytest.approx(7.0, abs=0.2)
    assert 0.6 < numbers["ev"] < 0.9


def test_components_reconstruct_more_than_chance_and_are_always_active(found):
    numbers = found["PCA, 7 components"]
    assert numbers["l0"] == 7
    assert 7 / 96 < numbers["ev"] < found["oracle"]["ev"]
    # The most frequent feature is active in 4 of 10 examples: F1 2 p / (1 + p), and no latent more.
    assert 0 < numbers["f1"] <= 2 * 0.41 / 1.41


def test_random_directions_are_like_some_feature_by_chance(found):
    numbers = found["random directions"]
    assert numbers["l0"] == pytest.approx(7.0)
    assert 0.2 < numbers["mcc"] < 0.4
    assert numbers["f1"] < 0.1
