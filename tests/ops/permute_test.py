import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import permute

SIZES = (1, 2, 3, 4, 5, 16, 17, 63, 65, 1000)


def _permutation(n, seed=0, epoch=0):
    keys = permute.round_keys(seed, np.asarray(epoch))
    return permute.at(keys, np.arange(n, dtype=np.uint32), n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_every_place_is_met_once(n, seed):
    np.testing.assert_array_equal(np.sort(_permutation(n, seed)), np.arange(n))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (7, 3), (2**31, 2**20)])
def test_numpy_and_jax_agree(n, seed, epoch):
    @jax.jit
    def on_device(epoch, index):
        return permute.at(permute.round_keys(seed, epoch), index, n)

    index = jnp.arange(n, dtype=jnp.uint32)
    got = on_device(jnp.asarray(epoch, jnp.int32), index)
    assert got.dtype == jnp.uint32
    np.testing.assert_array_equal(got, _permutation(n, seed, epoch))


def test_a_place_does_not_depend_on_which_others_are_asked_for():
    keys = permute.round_keys(3, np.asarray(1))
    whole = _permutation(1000, 3, 1)
    some = np.asarray([999, 0, 512], np.uint32)
    np.testing.assert_array_equal(permute.at(keys, some, 1000), whole[some])


def test_the_largest_domain_stays_inside():
    n = 2**31 - 1
    keys = permute.round_keys(0, np.asarray(0))
    found = permute.at(keys, np.asarray([0, 1, n - 2, n - 1], np.uint32), n)
    assert len(set(found.tolist())) == 4
    assert found.max() < n


@pytest.mark.parametrize("n", [0, -1, 2**31])
def test_a_domain_that_cannot_be_is_refused(n):
    with pytest.raises(ValueError, match=f"cannot permute {n} things"):
        permute.at(permute.round_keys(0, np.asarray(0)), np.zeros(1, np.uint32), n)


def test_other_keys_are_other_permutations():
    keys = [(seed, epoch) for seed in range(20) for epoch in range(20)]
    found = {_permutation(50, seed, epoch).tobytes() for seed, epoch in keys}
    assert len(found) == len(keys)


@pytest.mark.parametrize("vary", ["seed", "epoch"])
@pytest.mark.parametrize("n", [10, 16])
def test_every_place_is_as_likely_for_every_index(vary, n):
    rounds = 1000
    counts = np.zeros((n, n))
    for number in range(rounds):
        counts[np.arange(n), _permutation(n, **{vary: number})] += 1
    # A random permutation matrix has covariance 1 / (n - 1) on (n - 1)^2 directions, so this sum is
    # chi-square with so many degrees of freedom.
    statistic = (n - 1) / n * ((counts - rounds / n) ** 2).sum() / (rounds / n)
    freedom = (n - 1) ** 2
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


def test_neighbours_do_not_stay_neighbours():
    # The mean distance of two places drawn from n is (n + 1) / 3.
    n = 1000
    distances = [np.abs(np.diff(_permutation(n, seed).astype(int))).mean() for seed in range(20)]
    assert abs(np.mean(distances) - (n + 1) / 3) < 0.02 * n
