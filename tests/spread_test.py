import math

import pytest

from sae_jax import spread


def test_it_is_the_mean_and_the_sample_deviation():
    found = spread.of([1.0, 2.0, 6.0])
    assert (found.mean, found.n) == (3.0, 3)
    assert found.sd == pytest.approx(math.sqrt(7.0))


def test_one_number_has_no_deviation():
    assert spread.of([5.0]) == spread.Stat(5.0, None, 1)


def test_numbers_that_are_not_finite_have_no_deviation():
    assert spread.of([1.0, math.inf]) == spread.Stat(math.inf, None, 2)
    for values in ([1.0, math.nan, 2.0], [math.inf, -math.inf]):
        found = spread.of(values)
        assert math.isnan(found.mean)
        assert (found.sd, found.n) == (None, len(values))
