import jax.numpy as jnp
import numpy as np

from sae_jax import types
from sae_jax.metrics import active_units


def _totals(codes, mask=None):
    codes = jnp.asarray(codes, jnp.float32)
    batch = types.Batch(x=codes, mask=None if mask is None else jnp.asarray(mask, jnp.float32))
    sums = active_units.sums(batch, types.Output(codes, codes, codes), codes[0])
    return {name: np.asarray(value, np.float64) for name, value in sums.items()}


def _codes():
    """Standard deviations on both sides of 0.1, about means that do not matter."""
    noise = np.random.RandomState(0).randn(4000, 5)
    return noise / noise.std(axis=0) * [1.0, 0.11, 0.09, 0.0, 0.2] + [0, 3, -3, 2, 1]


def test_a_unit_is_active_if_its_code_varies_by_more_than_a_hundredth():
    assert active_units.finish(_totals(_codes())) == {"active_units": 3.0}


def test_the_variance_is_that_of_numpy():
    codes = _codes()
    np.testing.assert_allclose(active_units.variance(_totals(codes)), codes.var(axis=0), atol=1e-4)


def test_padding_does_not_count():
    codes = np.concatenate([_codes(), np.full((4, 5), 1e3)])
    mask = np.arange(len(codes)) < 4000
    assert active_units.finish(_totals(codes, mask)) == {"active_units": 3.0}


def test_a_split_is_the_sum_of_its_batches():
    codes = _codes()
    parts = [_totals(codes[:1000]), _totals(codes[1000:])]
    joined = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    np.testing.assert_allclose(
        active_units.variance(joined), active_units.variance(_totals(codes)), atol=1e-5
    )
