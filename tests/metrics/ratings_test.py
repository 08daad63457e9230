"""The metrics of recommendation, against literals and slow loops over users."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.metrics import ranking, rating_error


def _measure(metric, x_hat, y, x=None, mask=None, logits=None, **knobs):
    x_hat, y = np.asarray(x_hat, np.float32), np.asarray(y, np.float32)
    x = np.zeros_like(y) if x is None else np.asarray(x, np.float32)
    codes = jnp.zeros((len(y), 1))
    batch = types.Batch(x=jnp.asarray(x), y=jnp.asarray(y), mask=mask)
    extras = {} if logits is None else {"logits": jnp.asarray(logits, jnp.float32)}
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=codes, pre=codes, extras=extras)
    sums = metric.sums(batch, output, jnp.zeros(y.shape[1]), **knobs)
    return metric.finish({name: np.asarray(value, np.float64) for name, value in sums.items()})


def test_rating_error_by_hand():
    found = _measure(rating_error, [[4.0, 1.0, 2.5], [3.0, 3.0, 3.0]], [[5, 0, 3], [0, 0, 5]])
    assert found == pytest.approx(
        {"rmse": ((1 + 0.25 + 4) / 3) ** 0.5, "mae": (1 + 0.5 + 2) / 3}, rel=1e-6
    )


def test_predictions_are_clipped_to_the_scale_of_the_ratings():
    assert _measure(rating_error, [[9.0, -3.0]], [[5, 1]]) == {"rmse": 0, "mae": 0}
    found = _measure(rating_error, [[9.0, -3.0]], [[5, 1]], low=-10.0, high=10.0)
    assert found == {"rmse": 4, "mae": 4}


def test_ratings_of_padding_do_not_count():
    mask = jnp.asarray([1.0, 0.0])
    assert _measure(rating_error, [[4.0], [1.0]], [[5], [5]], mask=mask) == {"rmse": 1, "mae": 1}


def test_no_rating_to_predict_is_an_error():
    with pytest.raises(errors.DataError, match="no rating to predict"):
        _measure(rating_error, [[4.0]], [[0]])


def test_ranking_by_hand():
    # In order of score: item 4, known already, then 3 (held out), 0, 2 (held out), 1.
    found = _measure(
        ranking, [[0.3, 0.1, 0.2, 0.4, 0.9]], [[0, 0, 1, 1, 0]], [[0, 0, 0, 0, 1]], recall=(1, 2, 3)
    )
    best = 1 + 1 / np.log2(3)
    assert found == pytest.approx(
        {
            "recall_at_1": 1.0,  # One of at most one.
            "recall_at_2": 0.5,
            "recall_at_3": 1.0,
            "ndcg_at_100": (1 + 1 / np.log2(4)) / best,
        },
        rel=1e-6,
    )


def _slow(scores, x, y, recall, ndcg):
    """A loop over users as in the formulas of Liang et al. 2018, section 4.2."""
    found = {f"recall_at_{k}": [] for k in recall} | {f"ndcg_at_{k}": [] for k in ndcg}
    for score, known, wanted in zip(scores, x, y, strict=True):
        held_out = set(np.flatnonzero(wanted))
        if not held_out:
            continue
        ranked = [i for i in np.argsort(-score, kind="stable") if not known[i]]
        for k in recall:
            hits = sum(item in held_out for item in ranked[:k])
            found[f"recall_at_{k}"].append(hits / min(k, len(held_out)))
        for k in ndcg:
            gained = sum(
                1 / np.log2(r + 1) for r, item in enumerate(ranked[:k], 1) if item in held_out
            )
            best = sum(1 / np.log2(r + 1) for r in range(1, min(k, len(held_out)) + 1))
            found[f"ndcg_at_{k}"].append(gained / best)
    return {name: np.mean(values) for name, values in found.items()}


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_is_that_of_a_loop_over_users(ties):
    rng = np.random.RandomState(0)
    scores = rng.randint(0, 4, (40, 30)) * 1.0 if ties else rng.randn(40, 30)
    x, y = rng.rand(40, 30) < 0.3, rng.rand(40, 30) < 0.2
    y &= ~x
    y[::5] = False
    knobs = dict(recall=(1, 5, 20), ndcg=(3, 10, 100))
    found = _measure(ranking, scores, y, x, **knobs)
    assert found == pytest.approx(_slow(scores, x, y, **knobs), rel=1e-5)


def test_more_held_out_items_than_places_can_still_be_perfect():
    found = _measure(ranking, [np.arange(8.0)], [[1] * 8], recall=(3,), ndcg=(5,))
    assert found == pytest.approx({"recall_at_3": 1.0, "ndcg_at_5": 1.0}, rel=1e-6)


def test_logits_rank_where_the_output_is_saturated():
    found = _measure(ranking, [[1.0, 1.0]], [[0, 1]], logits=[[40.0, 50.0]], recall=(1,), ndcg=())
    assert found == {"recall_at_1": 1.0}


def test_no_held_out_item_is_an_error():
    with pytest.raises(errors.DataError, match="no user"):
        _measure(ranking, [[1.0, 2.0]], [[0, 0]])


def test_an_item_that_is_known_cannot_be_held_out():
    with pytest.raises(errors.DataError, match="no user"):
        _measure(ranking, [[1.0, 2.0]], [[1, 0]], [[1, 0]])
