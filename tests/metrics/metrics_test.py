import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import r2_score

from sae_jax import types
from sae_jax.metrics import density, fvu, l0, mse


def _measure(metric, x, x_hat, codes=None, reference=None, mask=None, y=None):
    x = np.asarray(x, np.float32)
    codes = jnp.zeros((len(x), 2)) if codes is None else jnp.asarray(codes, jnp.float32)
    reference = x.mean(axis=0) if reference is None else reference
    batch = types.Batch(
        x=jnp.asarray(x),
        y=None if y is None else jnp.asarray(y, jnp.float32),
        mask=None if mask is None else jnp.asarray(mask, jnp.float32),
    )
    output = types.Output(x_hat=jnp.asarray(x_hat, jnp.float32), codes=codes, pre=codes)
    sums = metric.sums(batch, output, jnp.asarray(reference, jnp.float32))
    return metric.finish({name: np.asarray(value, np.float64) for name, value in sums.items()})


def _data(rows=64, width=8):
    rng = np.random.RandomState(0)
    return (5 + rng.randn(rows, width) * np.arange(1, width + 1)).astype(np.float32)


def _fvu_by_hand(x, x_hat):
    x, x_hat = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
    return ((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()


def test_fvu_of_an_exact_reconstruction_is_0():
    assert _measure(fvu, _data(), _data()) == {"fvu": 0.0}


def test_fvu_of_the_mean_is_1():
    x = _data()
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    np.testing.assert_allclose(_measure(fvu, x, mean)["fvu"], 1, rtol=1e-6)


def test_fvu_is_one_minus_r2_weighed_by_variance():
    x = _data()
    x_hat = x + np.random.RandomState(1).randn(*x.shape)
    expected = 1 - r2_score(x, x_hat, multioutput="variance_weighted")
    np.testing.assert_allclose(_measure(fvu, x, x_hat)["fvu"], expected, rtol=1e-5)


def test_fvu_of_a_constant_bias_is_its_square_over_the_variance():
    x = _data()
    expected = len(x) * 8 * 2.0**2 / ((x - x.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(_measure(fvu, x, x + 2)["fvu"], expected, rtol=1e-5)


@pytest.mark.parametrize("reference", ["mean", "first rows"])
def test_fvu_is_right_far_from_zero(reference):
    rng = np.random.RandomState(0)
    x = (1e4 + rng.randn(64, 8)).astype(np.float32)
    x_hat = (x + 0.3 * rng.randn(64, 8)).astype(np.float32)
    point = x.mean(axis=0) if reference == "mean" else x[:4].mean(axis=0)
    found = _measure(fvu, x, x_hat, reference=point)["fvu"]
    np.testing.assert_allclose(found, _fvu_by_hand(x, x_hat), rtol=1e-4)


def test_fvu_does_not_depend_on_the_reference():
    x = _data()
    x_hat = x + np.random.RandomState(1).randn(*x.shape)
    for reference in (np.zeros(8), np.full(8, 5.0), x[0]):
        found = _measure(fvu, x, x_hat, reference=reference)["fvu"]
        np.testing.assert_allclose(found, _fvu_by_hand(x, x_hat), rtol=1e-5)


def test_fvu_is_infinite_where_the_data_do_not_vary():
    assert _measure(fvu, np.ones((4, 2)), np.zeros((4, 2))) == {"fvu": np.inf}


def test_mse_is_summed_over_the_width_and_averaged_over_examples():
    assert _measure(mse, [[1, 2], [3, 4]], [[0, 2], [3, 1]]) == {"mse_sum": (1 + 9) / 2}


@pytest.mark.parametrize("metric", [fvu, mse])
def test_errors_are_from_the_target(metric):
    x, y = _data(), _data()[::-1]
    (same,) = _measure(metric, x, y, y=y).values()
    (other,) = _measure(metric, x, x, y=y).values()
    assert same == 0
    assert other > 0.1


CODES = [
    [1.0, 0.0, 0.0, -1e-30],
    [2.0, 0.0, 0.0, 0.0],
    [3.0, 0.0, 0.5, 0.0],
    [4.0, 0.0, 0.0, 0.0],
]


def test_l0_counts_what_is_not_zero():
    assert _measure(l0, np.zeros((4, 2)), np.zeros((4, 2)), CODES) == {"l0": (2 + 1 + 2 + 1) / 4}


def test_density_finds_dead_and_dense_latents():
    found = _measure(density, np.zeros((4, 2)), np.zeros((4, 2)), CODES)
    assert found == {"dead": 1 / 4, "dense": 3 / 4, "frequent": 3 / 4}
    totals = {"n": np.float64(4), "active": np.asarray([4.0, 0.0, 1.0, 1.0])}
    np.testing.assert_array_equal(density.density(totals), [1.0, 0.0, 0.25, 0.25])


def test_dense_is_more_than_a_tenth():
    totals = {"n": np.float64(100), "active": np.asarray([9.0, 10.0, 11.0, 0.0])}
    assert density.finish(totals) == {"dead": 0.25, "dense": 0.25, "frequent": 0.75}


def test_padding_counts_nowhere():
    x, x_hat, codes = np.zeros((4, 2)), np.ones((4, 2)), np.ones((4, 4))
    x[:2] = [[1, 2], [3, 5]]
    codes[:2] = CODES[:2]
    mask = [1, 1, 0, 0]
    for metric in (mse, fvu, l0, density):
        point = x[:2].mean(axis=0)
        cut = _measure(metric, x[:2], x_hat[:2], codes[:2], reference=point)
        assert _measure(metric, x, x_hat, codes, reference=point, mask=mask) == cut
