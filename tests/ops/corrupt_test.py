import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from sae_jax import types
from sae_jax.ops import corrupt

ROWS, GRID = 400, (6, 5, 2)
WIDTH = 60


def _x(rows=ROWS, width=WIDTH):
    """Numbers from 0.1 to 0.9, so that what is set to 0 or 1 can be told."""
    return np.random.RandomState(0).uniform(0.1, 0.9, (rows, width)).astype(np.float32)


def _apply(of, x, grid=GRID, seed=0, **knobs):
    corruption = corrupt.Corruption(functools.partial(of, **knobs), grid)
    keys = jax.random.split(jax.random.key(seed), len(x))
    batch = jax.jit(corruption)(keys, types.Batch(x=jnp.asarray(x)))
    return np.asarray(batch.x), None if batch.y is None else np.asarray(batch.y)


EVERY = {
    "masking": (corrupt.masking, dict(share=0.3)),
    "salt_and_pepper": (corrupt.salt_and_pepper, dict(share=0.3)),
    "gaussian": (corrupt.gaussian, dict(sigma=0.5)),
    "blur": (corrupt.blur, dict(sigma=1.0)),
    "noisy_blur": (corrupt.blur, dict(sigma=1.0, noise=0.1)),
    "patch": (corrupt.patch, dict(size=3)),
}
every_corruption = pytest.mark.parametrize("name", EVERY)


@functools.cache
def _seen(name):
    of, knobs = EVERY[name]
    return _apply(of, _x(), **knobs)


@every_corruption
def test_the_target_is_the_example_as_it_was(name):
    seen, target = _seen(name)
    np.testing.assert_array_equal(target, _x())
    assert (seen != _x()).any(axis=1).all()


@every_corruption
def test_a_row_depends_on_its_own_key_alone(name):
    of, knobs = EVERY[name]
    x, keys = jnp.asarray(_x()[::-1]), jax.random.split(jax.random.key(0), ROWS)[::-1]
    corruption = jax.jit(corrupt.Corruption(functools.partial(of, **knobs), GRID))
    backwards = corruption(keys, types.Batch(x=x)).x
    np.testing.assert_allclose(backwards[::-1], _seen(name)[0], atol=1e-6)
    if name != "blur":  # It draws nothing.
        other = corruption(keys[::-1], types.Batch(x=x)).x
        # One patch in 12 comes to lie where it was.
        assert (np.asarray(other) != np.asarray(backwards)).any(axis=1).mean() > 0.8


def test_targets_that_the_data_give_stay():
    x, y = jnp.asarray(_x(4)), jnp.ones((4, WIDTH))
    corruption = corrupt.Corruption(functools.partial(corrupt.masking, share=0.5))
    batch = corruption(jax.random.split(jax.random.key(0), 4), types.Batch(x=x, y=y))
    np.testing.assert_array_equal(batch.y, y)


def test_no_corruption_changes_nothing():
    batch = types.Batch(x=jnp.asarray(_x(4)))
    assert corrupt.Corruption()(jax.random.split(jax.random.key(0), 4), batch) is batch


def test_masking_sets_its_share_to_0_and_leaves_the_rest():
    x, (seen, _) = _x(), _seen("masking")
    masked = seen == 0
    np.testing.assert_array_equal(seen[~masked], x[~masked])
    # 24,000 numbers: the standard deviation of the share is 0.003.
    assert masked.mean() == pytest.approx(0.3, abs=0.012)
    assert masked.mean(axis=0) == pytest.approx(np.full(WIDTH, 0.3), abs=0.12)


def test_salt_and_pepper_is_half_salt():
    x = _x()
    seen, _ = _apply(corrupt.salt_and_pepper, x, share=0.4, low=-1.0, high=2.0)
    pepper, salt = seen == -1, seen == 2
    np.testing.assert_array_equal(seen[~(pepper | salt)], x[~(pepper | salt)])
    assert pepper.mean() == pytest.approx(0.2, abs=0.012)
    assert salt.mean() == pytest.approx(0.2, abs=0.012)


@pytest.mark.parametrize("of", [corrupt.masking, corrupt.salt_and_pepper])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_may_be_nothing_or_all(of, share):
    seen, _ = of(jax.random.key(0), jnp.asarray(_x(1)[0]), None, share=share)
    assert np.isin(seen, (0, 1)).mean() == share


def test_gaussian_noise_has_its_standard_deviation_and_is_not_clipped():
    x = _x()
    noise = (_seen("gaussian")[0] - x) / 0.5
    # Of 24,000 draws: mean +- 0.0065, variance +- 0.0091, fourth moment +- 0.063.
    assert noise.mean() == pytest.approx(0, abs=0.026)
    assert (noise**2).mean() == pytest.approx(1, abs=0.037)
    assert (noise**4).mean() == pytest.approx(3, abs=0.25)
    assert np.abs(np.corrcoef(noise.T) - np.eye(WIDTH)).max() < 0.3
    assert (x + 0.5 * noise).min() < 0
    assert (x + 0.5 * noise).max() > 1


@pytest.mark.parametrize("sigma", [0.5, 1.7])
def test_blur_is_scipys_gaussian_filter_of_each_channel(sigma):
    x = _x(4)
    seen, _ = _apply(corrupt.blur, x, sigma=sigma)
    for row, found in zip(x.reshape(-1, *GRID), seen.reshape(-1, *GRID), strict=True):
        for channel in range(GRID[2]):
            expected = ndimage.gaussian_filter(
                row[..., channel], sigma, mode="nearest", radius=int(np.ceil(3 * sigma))
            )
            np.testing.assert_allclose(found[..., channel], expected, atol=1e-6)


def test_noise_comes_after_the_blur():
    noise = _seen("noisy_blur")[0] - _seen("blur")[0]
    assert noise.std() == pytest.approx(0.1, rel=0.03)


def test_a_patch_is_one_square_of_all_channels_inside_the_picture():
    seen, _ = _seen("patch")
    corners = set()
    for row in (seen == 0).reshape(-1, *GRID):
        assert row.sum() == 3 * 3 * GRID[2]
        top, left = np.argwhere(row)[0, :2]
        assert row[top : top + 3, left : left + 3].all()
        corners.add((int(top), int(left)))
    # Every place that there is: 400 draws miss one of 12 with probability 1e-14.
    assert corners == {(top, left) for top in range(4) for left in range(3)}


def test_a_patch_may_fill_the_picture():
    assert (_apply(corrupt.patch, _x(4, 16), (4, 4, 1), size=4)[0] == 0).all()


def test_binarised_examples_are_their_own_targets():
    x = np.broadcast_to(np.linspace(0, 1, WIDTH, dtype=np.float32), (ROWS, WIDTH))
    seen, target = _apply(corrupt.binarise, x, None)
    np.testing.assert_array_equal(seen, target)
    assert np.isin(seen, (0, 1)).all()
    assert seen.mean(axis=0) == pytest.approx(x[0], abs=0.11)
    assert not seen[:, 0].any()
    assert seen[:, -1].all()


@pytest.mark.parametrize(
    ("of", "grid", "knobs", "message"),
    [
        (corrupt.masking, GRID, dict(share=1.5), r"masking: share=1.5"),
        (corrupt.salt_and_pepper, GRID, dict(share=-0.1), r"salt_and_pepper: share=-0.1"),
        (corrupt.gaussian, GRID, dict(sigma=-1.0), r"gaussian: sigma=-1.0"),
        (corrupt.blur, GRID, dict(sigma=0.0), r"blur: sigma=0.0"),
        (corrupt.blur, GRID, dict(sigma=1.0, noise=-1.0), r"blur: .*noise=-1.0"),
        (corrupt.blur, None, dict(sigma=1.0), r"blur needs pictures"),
        (corrupt.patch, (60, 1), dict(size=1), r"patch needs pictures"),
        (corrupt.patch, GRID, dict(size=6), r"size=6 does not fit pictures of 6 x 5"),
        (corrupt.patch, GRID, dict(size=0), r"size=0 does not fit"),
    ],
)
def test_what_cannot_be_is_refused(of, grid, knobs, message):
    with pytest.raises(ValueError, match=message):
        _apply(of, _x(2), grid, **knobs)
