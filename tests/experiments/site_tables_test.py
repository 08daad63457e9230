"""What the tables of transcoders compare with, and the picture of sites' shares."""

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments import tables
from experiments.figures import site_shares
from experiments.tables import baselines, cross_layer, crosscoders, transcoders
from sae_jax import spread, types
from sae_jax.data import base, mlp_stack


def _batch(rows, seed):
    x = np.random.RandomState(seed).randn(rows, 4)
    # Layer 0 writes what is linear in its input; layer 1, of both, and something that is not.
    y = np.c_[x[:, :1] + 2 * x[:, 1:2] + 1, x[:, :1] - x[:, 3:] + np.abs(x[:, 2:3])]
    return types.Batch(x=jnp.asarray(x, jnp.float32), y=jnp.asarray(y, jnp.float32))


def test_a_regression_leaves_what_is_not_linear():
    fvu = baselines.linear_fvu(_batch(20_000, 0), _batch(20_000, 1), (2, 2))
    left = 1 - 2 / np.pi  # The variance of |x|.
    assert fvu == pytest.approx(left / (5 + 2 + left), rel=0.05)


def test_a_layer_may_not_look_at_what_later_ones_read():
    batch = _batch(20_000, 0)
    ahead = types.Batch(x=batch.x, y=batch.x[:, 2:])
    # Layer 0 cannot write what layer 1 reads, which is half of the variance.
    assert baselines.linear_fvu(ahead, ahead, (2, 2)) == pytest.approx(0.5, abs=0.02)


def test_an_oracle_keeps_what_writes_most_and_adds_the_mean_of_the_rest():
    rows = np.asarray([[1.0, 0], [0, 10]])
    codes = np.asarray([[3.0, 0], [2, 0.1], [1, 0.5]])
    seen = (codes, codes @ rows + [7, 0])
    coded = baselines.oracle(rows, seen, codes, k=1)
    np.testing.assert_array_equal(coded.codes, [[3, 0], [2, 0], [0, 0.5]])
    np.testing.assert_allclose(coded.x_hat, coded.codes @ rows + [7 + 1 / 3, 1 / 3])
    whole = baselines.oracle(rows, seen, codes, k=2)
    np.testing.assert_allclose(whole.x_hat, seen[1])


def test_random_directions_keep_their_largest_projections():
    rng = np.random.RandomState(0)
    train, x = rng.randn(50, 4) + 1, rng.randn(6, 4) + 1
    coded = baselines.largest_projections(train, x, d_sae=9, k=2, seed=3)
    mean = train.mean(axis=0)
    for codes, x_hat, example in zip(coded.codes, coded.x_hat, x, strict=True):
        shown = coded.rows @ (example - mean)
        (kept,) = codes.nonzero()
        assert set(kept) == {i for i in np.argsort(shown)[-2:] if shown[i] > 0}
        np.testing.assert_allclose(x_hat, mean + codes @ coded.rows, atol=1e-6)


def test_baselines_are_scored_as_runs_are(monkeypatch):
    monkeypatch.setattr(baselines, "_BATCH", 7)  # In parts, the last a short one.
    data = mlp_stack.load("test[:40]")
    batch = base.first(data, 40)
    codes = baselines.neurons(data, batch, (1, 32))
    rows = data.source["w_out"][0]
    np.testing.assert_allclose(codes @ rows, batch.target, atol=1e-5)
    coded = baselines.Coded(rows, codes, 0.5 * codes @ rows)
    found = baselines.scores(data, batch, coded, ("fvu", "mse", "l0", "density"))
    y = np.asarray(batch.target, np.float64)
    left = 0.25 * (y**2).sum()
    assert found["fvu"] == pytest.approx(left / ((y - y.mean(axis=0)) ** 2).sum(), rel=1e-5)
    assert found["mse_sum"] == pytest.approx(left / 40, rel=1e-5)
    assert found["l0"] == pytest.approx((codes > 0).sum() / 40)
    assert found["dead"] == pytest.approx((codes == 0).all(axis=0).mean())


@pytest.mark.parametrize("module", [transcoders, cross_layer, crosscoders])
def test_baselines_fill_columns(module, monkeypatch):
    monkeypatch.setattr(module, "_EXAMPLES", 2000)
    found = {row.label: module.measure(row, 0, None) for row in module.ROWS if not row.config}
    assert all(set(numbers) <= set(module.COLUMNS) for numbers in found.values())
    if module is not crosscoders:
        fvu = {label: numbers["fvu"] for label, numbers in found.items()}
        assert all(0 < value < 1 for value in fvu.values())
        known = [label for label in fvu if "true neurons" in label]
        others = [label for label in fvu if "PCA" in label or "random" in label]
        assert max(fvu[each] for each in known) < min(fvu[each] for each in others)
    else:
        assert found["random directions"]["exclusive"] == 0
    figure = Figure()
    column = "spurious" if module is crosscoders else "fvu"
    module.draw([tables.Line(r, {column: spread.Stat(1, 0, 3)}) for r in module.ROWS], figure)
    assert len(figure.axes[0].get_yticklabels()) == len(module.ROWS)


def test_the_histogram_of_shares_is_drawn_with_and_without_known_features():
    rows = {"latents": np.asarray([0.0, 0.5, 0.5, 1.0])}
    for more in ({}, {"features": np.asarray([0.5, 1.0])}):
        figure = Figure(figsize=site_shares.SIZE)
        site_shares.draw({**rows, **more}, figure)
        (axis,) = figure.axes
        assert (
            max(patch.get_height() for patch in axis.patches if hasattr(patch, "get_height")) == 2
        )
