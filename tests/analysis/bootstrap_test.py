"""Bootstrap intervals: as wide as statistics says, and right for a ratio of sums."""

import types

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import bootstrap
from sae_jax.data import base
from sae_jax.metrics import density, fvu, mse
from sae_jax.train import evaluate


def _evaluation(*modules):
    metrics = {m.__name__.split(".")[-1]: evaluate.Metric(m.sums, m.finish) for m in modules}
    data = types.SimpleNamespace(spec=base.Spec("made up", "test", (1,)))
    return evaluate.Evaluation(data, metrics, 10)


def _of_mean(blocks, size, seed=0):
    """Blocks of squared errors drawn from an exponential distribution of mean 2."""
    errors2 = np.random.RandomState(seed).exponential(2.0, (blocks, size))
    return [{"mse": {"n": float(size), "residual2": block.sum(), "d": 1.0}} for block in errors2]


def test_an_interval_is_as_wide_as_the_standard_error_says():
    blocks = _of_mean(100, 50)
    found = _mean_interval(blocks)
    expected = 2 * 1.96 * 2.0 / np.sqrt(100 * 50)
    assert found[1] - found[0] == pytest.approx(expected, rel=0.2)
    assert found[0] < 2.0 < found[1]


def test_it_holds_the_truth_nineteen_times_in_twenty():
    held = [
        low < 2.0 < high for low, high in (_mean_interval(_of_mean(40, 25, s)) for s in range(100))
    ]
    assert 0.87 < np.mean(held) <= 1.0


def _mean_interval(blocks):
    metric = evaluate.Metric(mse.sums, lambda totals: {"mean": totals["residual2"] / totals["n"]})
    evaluation = _evaluation()
    evaluation = evaluate.Evaluation(evaluation.data, {"mse": metric}, 10)
    return bootstrap.intervals(evaluation, blocks, draws=300)["mean"]


def test_a_ratio_is_taken_of_totals_and_not_of_blocks():
    """Of equal blocks every draw gives the same number, that of the whole."""
    block = {"fvu": {"n": 4.0, "offset": np.zeros(2), "offset2": 8.0, "residual2": 2.0}}
    assert bootstrap.intervals(_evaluation(fvu), [block] * 20)["fvu"] == (0.25, 0.25)


def test_the_share_of_dead_latents_has_no_interval():
    block = {"density": {"n": 4.0, "active": np.array([0.0, 1.0, 4.0])}}
    found = bootstrap.intervals(_evaluation(density), [block] * 20)
    assert found["dense"] == (2 / 3, 2 / 3)
    assert "dead" not in found


def test_too_few_documents_are_refused():
    with pytest.raises(errors.DataError, match="19 documents are too few.*--sequences"):
        bootstrap.of_sums({"ce": np.ones(19)}, lambda totals: {"ce": float(totals["ce"])})


def test_too_few_blocks_are_refused():
    with pytest.raises(errors.DataError, match="made up .test. was measured in 19 blocks.*--split"):
        bootstrap.intervals(_evaluation(mse), _of_mean(19, 5))
