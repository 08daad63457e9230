"""Projections on a decoder, against a sorted list of all, and what they tell of a dictionary."""

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.metrics import s_n_dec

SPEC = base.Spec("pixels", "test", (6,))


class Data:
    spec = SPEC


def _found(w_dec, b_dec, x, mask=None, enter=lambda x: x, **knobs):
    prepared = s_n_dec.prepare({"w_dec": w_dec, "b_dec": b_dec}, Data)
    batch = types.Batch(jnp.asarray(x, jnp.float32), mask=mask)
    output = types.Output(x_hat=batch.x, codes=batch.x, pre=batch.x)
    bound = types.Bound(lambda x: x, lambda *_: None, enter)
    totals = s_n_dec.sums(batch, output, jnp.zeros(6), model=bound, prepared=prepared, **knobs)
    return s_n_dec.finish({name: np.asarray(total, np.float64) for name, total in totals.items()})


@pytest.mark.parametrize("n", [0, 1, 3, 8])
def test_it_is_an_order_statistic_of_all_projections(n):
    rng = np.random.RandomState(n)
    w_dec, b_dec, x = rng.randn(8, 6), rng.randn(6), rng.randn(20, 6)
    mask = jnp.asarray([1.0] * 17 + [0.0] * 3)
    falling = np.sort(((2 * x - b_dec) @ w_dec.T)[:17].ravel())[::-1]
    found = _found(w_dec, b_dec, x, mask, lambda x: 2 * x, n=n)
    assert found["s_n_dec"] == pytest.approx(falling[(n or 2) * 17 - 1], rel=2**-8)


def test_the_true_dictionary_has_none_beyond_the_true_l0():
    rng = np.random.RandomState(0)
    codes = rng.rand(500, 6) * (rng.rand(500, 6) < 0.3)
    mixed = np.eye(6) + 0.3 * rng.rand(6, 6)
    right, wrong = (_found(w_dec, np.zeros(6), codes)["s_n_dec"] for w_dec in (np.eye(6), mixed))
    assert right == 0
    assert wrong > 0.05


def test_a_model_that_does_not_reconstruct_by_a_decoder_is_refused():
    with pytest.raises(errors.UserError, match="s_n_dec projects examples of 6 numbers on w_dec"):
        s_n_dec.prepare({"codebook": np.eye(6)}, Data)
