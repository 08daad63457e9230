import os

import pytest

from benchmarks import timing


def test_the_first_round_is_not_kept_and_all_have_turns():
    said = iter(range(6))
    calls = []

    def work(name):
        calls.append(name)
        return float(next(said))

    found = timing.interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=2)
    assert found == {"a": [2.0, 4.0], "b": [3.0, 5.0]}
    assert calls == ["a", "b"] * 3


def test_ratios_are_of_rounds():
    assert timing.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == (2.0, 1.0, 3.0)


def test_slope_is_the_exponent():
    assert timing.slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)
    assert timing.slope([1, 10], [5.0, 5.0]) == pytest.approx(0.0)


def test_cost_in_proportion():
    assert timing.in_proportion([1, 4], [2.0, 8.0]) == pytest.approx(1.0)
    assert timing.in_proportion([1, 4], [2.0, 4.0]) == pytest.approx(2.0)


def test_the_machine_has_no_name():
    assert os.uname().nodename not in timing.machine()


def test_more_cores_than_there_are():
    with pytest.raises(ValueError, match="--threads=99999: there are"):
        timing.use_cores(99_999)
