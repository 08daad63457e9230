"""Other papers' measures of a reconstruction, against NumPy on data where they disagree."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.metrics import reconstruction


def _measure(x, x_hat, mask=None):
    batch = types.Batch(x=jnp.asarray(x), mask=None if mask is None else jnp.asarray(mask))
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=None, pre=None)
    sums = reconstruction.sums(batch, output, jnp.asarray(np.asarray(x).mean(axis=0)))
    return reconstruction.finish({name: np.asarray(v, np.float64) for name, v in sums.items()})


def _data():
    rng = np.random.RandomState(0)
    x = (4 + rng.randn(64, 5) * np.arange(1, 6)).astype(np.float32)
    return x, (0.8 * x + 0.5 * rng.randn(64, 5)).astype(np.float32)


def _by_hand(x, x_hat):
    x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
    error2, norms = ((x - x_hat) ** 2).sum(axis=1), np.linalg.norm(x, axis=1)
    made = np.linalg.norm(x_hat, axis=1)
    return {
        "cosine": ((x * x_hat).sum(axis=1) / norms / made).mean(),
        "norm_ratio": (made / norms).mean(),
        "nmse": (error2 / norms**2).mean(),
        "fvu_per_example": (error2 / ((x - x.mean(axis=0)) ** 2).sum(axis=1)).mean(),
        "gain": (made**2).sum() / (x * x_hat).sum(),
        "fvu_centred": (x - x_hat).var(axis=0).sum() / x.var(axis=0).sum(),
    }


def test_the_numbers_are_what_numpy_says():
    assert _measure(*_data()) == pytest.approx(_by_hand(*_data()), rel=1e-4)


def test_padding_counts_for_nothing():
    x, x_hat = _data()
    more = [np.concatenate([rows, 100 + rows[:3]]) for rows in (x, x_hat)]
    batch = types.Batch(jnp.asarray(more[0]), mask=jnp.asarray([1.0] * 64 + [0.0] * 3))
    output = types.Output(x_hat=jnp.asarray(more[1]), codes=None, pre=None)
    sums = reconstruction.sums(batch, output, jnp.asarray(x.mean(axis=0)))
    found = reconstruction.finish({name: np.asarray(v, np.float64) for name, v in sums.items()})
    assert found == pytest.approx(_by_hand(x, x_hat), rel=1e-4)


def test_they_disagree_on_a_constant_reconstruction_far_from_zero():
    """The trap of definitions: the mean as a reconstruction is worth nothing, or nearly all."""
    x = (100 + np.random.RandomState(0).randn(500, 8)).astype(np.float32)
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    found = _measure(x, mean)
    assert found["fvu_centred"] == pytest.approx(1, rel=1e-3)
    assert found["fvu_per_example"] == pytest.approx(1, rel=1e-3)
    assert found["nmse"] < 2e-4
    assert found["cosine"] > 0.999


def test_a_constant_error_is_free_where_the_error_is_centred():
    x, _ = _data()
    assert _measure(x, x + 3)["fvu_centred"] == pytest.approx(0, abs=1e-6)
    assert _measure(x, x + 3)["nmse"] > 0.1


def test_shrunk_reconstructions_have_a_gain_below_one():
    x, _ = _data()
    assert _measure(x, 0.7 * x)["gain"] == pytest.approx(0.7, rel=1e-5)
