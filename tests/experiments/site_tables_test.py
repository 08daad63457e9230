"""What the tables of transcoders compare with, and the picture of sites' shares."""

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments.figures import site_shares
from experiments.tables import baselines
from sae_jax import types


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


def test_the_histogram_of_shares_is_drawn_with_and_without_known_features():
    rows = {"latents": np.asarray([0.0, 0.5, 0.5, 1.0])}
    for more in ({}, {"features": np.asarray([0.5, 1.0])}):
        figure = Figure(figsize=site_shares.SIZE)
        site_shares.draw({**rows, **more}, figure)
        (axis,) = figure.axes
        assert (
            max(patch.get_height() for patch in axis.patches if hasattr(patch, "get_height")) == 2
        )
