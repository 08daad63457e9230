import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.analysis import examples

SETTINGS = examples.Settings(top=4, bands=3, each=2, bins=7, seed=11)


def _codes(rows=97, d_sae=24, levels=6, seed=0):
    """Codes with many equals, a latent that is never active and one that always is."""
    rng = np.random.RandomState(seed)
    codes = (rng.randint(1, levels, (rows, d_sae)) * 0.3).astype(np.float32)
    codes *= rng.rand(rows, d_sae) < rng.rand(d_sae) ** 3
    codes[:, 3], codes[:, 4] = 0, rng.rand(rows) + 0.1
    codes[5, 6] = -2.0
    return codes


def _scan(codes, batch_size, settings=SETTINGS):
    return examples.scan(lambda i: jnp.asarray(codes)[i], len(codes), settings, batch_size)


def _mixed(word):
    word = ((word ^ (word >> 16)) * 0x85EBCA6B) % 2**32
    word = ((word ^ (word >> 13)) * 0xC2B2AE35) % 2**32
    return word ^ (word >> 16)


def _hash(seed, row, latent):
    word = _mixed(seed)
    for part in (row, latent):
        word = _mixed((word + part * 0x9E3779B9) % 2**32)
    return word >> 8


def _plain(codes, settings):
    """The same, latent after latent, in Python."""
    shape = (codes.shape[1], settings.bands, settings.each)
    value, row = np.zeros(shape, np.float32), np.full(shape, -1)
    top = np.zeros((len(codes[0]), settings.top), np.float32), np.full((24, settings.top), -1)
    histogram = np.zeros((codes.shape[1], settings.bins), int)
    for latent, column in enumerate(codes.T):
        rows = np.flatnonzero(column > 0)
        best = sorted(rows, key=lambda r: (-column[r], r))[: settings.top]
        top[0][latent, : len(best)], top[1][latent, : len(best)] = column[best], best
        for r in rows:
            share = column[r] / column.max()
            histogram[latent, min(int(share * settings.bins), settings.bins - 1)] += 1
        for band in range(settings.bands):
            inside = [
                r
                for r in rows
                if min(int(column[r] / column.max() * settings.bands), settings.bands - 1) == band
            ]
            drawn = sorted(inside, key=lambda r: (_hash(settings.seed, int(r), latent), r))
            drawn = drawn[: settings.each]
            value[latent, band, : len(drawn)] = column[drawn]
            row[latent, band, : len(drawn)] = drawn
    return top, value, row, histogram


@pytest.mark.parametrize("batch_size", [1, 16, 40, 97, 128])
def test_what_is_found_is_what_a_plain_computation_finds(batch_size):
    codes = _codes()
    found = _scan(codes, batch_size)
    top, value, row, histogram = _plain(codes, SETTINGS)
    np.testing.assert_array_equal(found.top_value, top[0])
    np.testing.assert_array_equal(found.top_row, top[1])
    np.testing.assert_array_equal(found.sample_value, value)
    np.testing.assert_array_equal(found.sample_row, row)
    np.testing.assert_array_equal(found.histogram, histogram)
    np.testing.assert_array_equal(found.count, (codes > 0).sum(axis=0))
    sums = np.where(codes > 0, codes, 0).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found.total, sums, rtol=1e-11)
    np.testing.assert_allclose(found.density, (codes > 0).mean(axis=0))
    assert found.mean[3] == found.largest[3] == 0


def test_batches_change_nothing_and_sums_do_not_drift():
    rng = np.random.RandomState(1)
    codes = np.maximum(rng.randn(700, 10), 0).astype(np.float32) + np.float32(100.0)
    found = [_scan(codes, size) for size in (7, 512, 700)]
    for other in found[1:]:
        for name, array in vars(found[0]).items():
            np.testing.assert_array_equal(getattr(other, name), array, name)
    np.testing.assert_allclose(found[0].total, codes.sum(axis=0, dtype=np.float64), rtol=1e-11)


def test_rows_of_which_few_latents_are_active_are_cut_down_first():
    rng = np.random.RandomState(2)
    codes = np.zeros((50, 64), np.float32)
    for row in codes:
        row[rng.choice(64, 3, replace=False)] = rng.rand(3) + 0.1
    settings = examples.Settings(top=3, bands=1, each=1, bins=2)
    found = _scan(codes, 20, settings)
    for latent, column in enumerate(codes.T):
        best = sorted(np.flatnonzero(column), key=lambda r: -column[r])[:3]
        np.testing.assert_array_equal(found.top_row[latent, : len(best)], best)
    assert found.histogram.sum() == 150


def test_another_seed_draws_others():
    codes = np.random.RandomState(3).rand(400, 5).astype(np.float32)
    drawn = [
        _scan(codes, 100, examples.Settings(top=1, bands=1, each=50, seed=seed)).sample_row
        for seed in (0, 1)
    ]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(drawn[0], drawn[1], strict=True)]
    assert max(shared) < 20  # 50 of 400, twice: 6 in the mean.
    assert abs(np.mean(drawn) - 200) < 15


def test_single_codes_are_looked_up():
    codes = _codes()
    rng = np.random.RandomState(4)
    rows, latents = rng.randint(0, 97, 300), rng.randint(0, 24, 300)
    seen = []

    def encode(index):
        seen.append(index[0])
        return jnp.asarray(codes)[index]

    found = examples.look_up(encode, 97, rows, latents, 10)
    np.testing.assert_array_equal(found, codes[rows, latents])
    seen.clear()
    assert examples.look_up(encode, 97, np.array([31]), np.array([4]), 10) == codes[31, 4]
    assert seen == [30]


@pytest.mark.parametrize("wrong", [dict(top=0), dict(bins=0), dict(seed=-1)])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        examples.Settings(**wrong)
