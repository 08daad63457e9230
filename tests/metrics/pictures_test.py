"""psnr and ssim against what NumPy and SciPy say."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from sae_jax import errors, types
from sae_jax.metrics import psnr, ssim

GRID = (14, 12, 2)


def _pictures(rows=3):
    rng = np.random.RandomState(0)
    return rng.rand(rows, int(np.prod(GRID))).astype(np.float32)


def _noisy(x, sigma):
    return (x + sigma * np.random.RandomState(1).randn(*x.shape)).astype(np.float32)


def _measure(metric, x, x_hat, y=None, mask=None, **knobs):
    batch = types.Batch(
        x=jnp.asarray(x),
        y=None if y is None else jnp.asarray(y),
        mask=None if mask is None else jnp.asarray(mask, jnp.float32),
    )
    codes = jnp.zeros((len(x), 1))
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=codes, pre=codes)
    sums = metric.sums(batch, output, jnp.zeros(1), **knobs)
    return metric.finish({name: np.asarray(value, np.float64) for name, value in sums.items()})


def _ssim_by_hand(a, b):
    """Wang's program for one channel: windows inside the picture only, all in float64."""
    place = np.arange(11) - 5
    window = np.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def smooth(image):
        return signal.convolve2d(image, window, mode="valid")

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    both = smooth(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def test_psnr_is_that_of_the_mean_error():
    x = np.zeros((2, 4), np.float32)
    x_hat = np.asarray([[0.1, 0.1, 0.1, 0.1], [0.2, 0, 0, 0]], np.float32)
    # Mean squared errors 0.01 and 0.01.
    assert _measure(psnr, x, x_hat) == pytest.approx({"psnr": 20})
    x_hat[1] = 0.1 * 199**0.5
    # 0.01 and 1.99.
    assert _measure(psnr, x, x_hat) == pytest.approx({"psnr": 0}, abs=1e-5)


def test_psnr_of_the_input_and_the_gain_are_told_where_there_is_a_target():
    y = _pictures()
    seen, x_hat = _noisy(y, 0.5), _noisy(y, 0.05)
    found = _measure(psnr, seen, x_hat, y)
    before, after = (10 * np.log10(1 / ((x - y) ** 2).mean()) for x in (seen, x_hat))
    expected = {"psnr": after, "psnr_input": before, "psnr_gain": after - before}
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["psnr_gain"] == pytest.approx(20, abs=0.5)  # A tenth of the noise.


def test_an_exact_reconstruction_has_infinite_psnr_and_an_exact_input_none():
    x = _pictures()
    assert _measure(psnr, x, x) == {"psnr": np.inf}
    assert _measure(psnr, x, x + 0.1, x) == pytest.approx({"psnr": 20}, rel=1e-5)


def test_ssim_is_that_of_wang_in_numpy():
    y = _pictures()
    seen, x_hat = _noisy(y, 0.5), _noisy(y, 0.1)
    found = _measure(ssim, seen, x_hat, y, grid=GRID)

    def by_hand(x):
        pairs = zip(x.reshape(-1, *GRID), y.reshape(-1, *GRID), strict=True)
        return np.mean(
            [
                _ssim_by_hand(a[..., c].astype("d"), b[..., c].astype("d"))
                for a, b in pairs
                for c in (0, 1)
            ]
        )

    assert found == pytest.approx({"ssim": by_hand(x_hat), "ssim_input": by_hand(seen)}, rel=1e-4)
    assert 0 < found["ssim_input"] < found["ssim"] < 1


def test_ssim_of_the_same_picture_is_1_and_of_its_negative_below_0():
    x = _pictures()
    assert _measure(ssim, x, x, grid=GRID) == pytest.approx({"ssim": 1})
    assert _measure(ssim, x, 1 - x, grid=GRID)["ssim"] < 0


def test_ssim_of_two_flat_pictures_is_their_luminance_term():
    a, b = np.full((1, 144), 0.25, np.float32), np.full((1, 144), 0.5, np.float32)
    expected = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    found = _measure(ssim, a, b, grid=(12, 12, 1))["ssim"]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("grid", "size"), [(None, 11), ((14, 12, 2), 13), ((168, 2), 2)])
def test_what_is_no_picture_or_too_small_a_one_has_no_ssim(grid, size):
    x = _pictures()
    with pytest.raises(errors.UserError, match=f"ssim needs pictures of {size} x {size}"):
        _measure(ssim, x, x, grid=grid, size=size)


@pytest.mark.parametrize(("metric", "knobs"), [(psnr, {}), (ssim, dict(grid=GRID))])
def test_padding_counts_nowhere(metric, knobs):
    y = _pictures(4)
    seen, x_hat = _noisy(y, 0.5), _noisy(y, 0.1)
    whole = _measure(metric, seen, x_hat, y, mask=[1, 1, 0, 0], **knobs)
    cut = _measure(metric, seen[:2], x_hat[:2], y[:2], **knobs)
    assert whole == pytest.approx(cut, rel=1e-5)
