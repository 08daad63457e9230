import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model, svm

from sae_jax.analysis import probe

PROBES = [probe.logistic_regression, probe.linear_svm]


def _examples(rows, seed, noise=0.7, d=6):
    """Three classes around three points; their codes are far from norm 1."""
    rng = np.random.RandomState(seed)
    label = rng.randint(0, 3, rows)
    centres = np.random.RandomState(0).randn(3, d)
    return probe.Examples(50 * (centres[label] + noise * rng.randn(rows, d)), label)


@pytest.mark.parametrize("reach", PROBES)
def test_classes_far_apart_are_told_without_error(reach):
    train, test = _examples(120, 1, noise=0.01), _examples(60, 2, noise=0.01)
    assert reach(train, test, validation=40).error == 0


@pytest.mark.parametrize("reach", PROBES)
def test_what_codes_do_not_tell_is_guessed(reach):
    train, test = _examples(300, 1), _examples(300, 2)
    shuffled = probe.Examples(train.codes, np.random.RandomState(3).permutation(train.label))
    assert 50 < reach(shuffled, test, validation=100).error < 85


@pytest.mark.parametrize(
    ("reach", "model"),
    [
        (probe.logistic_regression, linear_model.LogisticRegression(C=3.0, max_iter=1000)),
        (probe.linear_svm, svm.LinearSVC(C=3.0, dual=False)),
    ],
)
def test_the_error_is_that_of_a_model_fitted_to_all_training_examples(reach, model):
    train, test = _examples(300, 1), _examples(400, 2)
    scale = np.sqrt((train.codes**2).sum(axis=1).mean())
    fitted = model.fit(train.codes / scale, train.label)
    expected = 100 * (fitted.predict(test.codes / scale) != test.label).mean()
    half = model.fit(train.codes[:200] / scale, train.label[:200])
    left_out = 100 * (half.predict(train.codes[200:] / scale) != train.label[200:]).mean()
    got = reach(train, test, validation=100, settings=(3.0,))
    assert 5 < expected < 60
    assert got.error == pytest.approx(expected, abs=0.26)  # One example.
    assert got.setting == 3.0
    assert got.validation == {3.0: pytest.approx(left_out, abs=1.01)}


def test_the_setting_is_the_best_on_what_is_left_out_and_not_on_the_test():
    """Every label of the test is wrong: whoever looked there would choose the worst."""
    train, test = _examples(300, 1), _examples(100, 2)
    test = probe.Examples(test.codes, (test.label + 1) % 3)
    got = probe.logistic_regression(train, test, validation=100, settings=(1e-6, 10.0))
    assert got.setting == 10.0
    assert got.validation[10.0] < got.validation[1e-6]
    assert got.error > 60


@pytest.mark.parametrize("reach", PROBES)
def test_zeros_in_codes_change_the_form_and_not_the_numbers(reach, monkeypatch):
    train, test = _examples(200, 1, d=40), _examples(100, 2, d=40)
    train, test = (
        probe.Examples(part.codes * (np.abs(part.codes) > 80), part.label) for part in (train, test)
    )
    assert sparse.issparse(probe._prepared(train.codes, test.codes)[0])
    got = reach(train, test, validation=50)
    monkeypatch.setattr(probe, "_SPARSE", 0.0)
    assert not sparse.issparse(probe._prepared(train.codes, test.codes)[0])
    assert reach(train, test, validation=50).error == pytest.approx(got.error, abs=1.01)


def test_what_cannot_be_probed_is_refused():
    train, test = _examples(30, 1), _examples(10, 2)
    with pytest.raises(ValueError, match="validation=30 of 30"):
        probe.logistic_regression(train, test, validation=30)
    with pytest.raises(ValueError, match="all codes are 0"):
        probe.logistic_regression(probe.Examples(0 * train.codes, train.label), test, validation=10)
