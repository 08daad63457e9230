import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.metrics import perplexity


def _measure(codes, mask=None):
    codes = jnp.asarray(codes, jnp.float32)
    batch = types.Batch(x=codes, mask=None if mask is None else jnp.asarray(mask, jnp.float32))
    sums = perplexity.sums(batch, types.Output(codes, codes, codes), codes[0])
    found = perplexity.finish({name: np.asarray(value) for name, value in sums.items()})
    return found["perplexity"]


def test_entries_that_are_used_alike_all_count():
    assert _measure(np.eye(8)[:6]) == pytest.approx(6)


def test_one_entry_counts_as_one():
    assert _measure([[0, 1, 0], [0, 1, 0]]) == pytest.approx(1)


def test_it_is_two_to_the_entropy_in_bits():
    share = np.asarray([0.5, 0.25, 0.125, 0.125])
    assert _measure(share[None]) == pytest.approx(2**1.75)
    assert _measure(7 * share[None]) == pytest.approx(2**1.75)


def test_padding_does_not_count():
    assert _measure(np.eye(4), mask=[1, 1, 0, 0]) == pytest.approx(2)


def test_codes_of_either_sign_are_refused():
    with pytest.raises(errors.UserError, match="perplexity needs codes that are never negative"):
        _measure([[1.0, -1.0]])
