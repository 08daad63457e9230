import io

import pytest

from sae_jax.train import progress

METRICS = {"loss": 12.3456, "fvu": 0.25, "l0": 30.0, "dead": 0.0, "grad_norm": 7.0}


class Terminal(io.StringIO):
    """A stream that says that somebody watches it."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_are_plain_lines(clock):
    stream = io.StringIO()
    found = progress.Progress(2000, 10, stream=stream)
    found.update(100, METRICS)
    clock[0] += 10
    found.update(200, {**METRICS, "loss": 1234.5})
    found.close()
    assert stream.getvalue().splitlines() == [
        "step 100/2,000  loss 12.3  FVU 0.25  L0 30  dead 0",
        "step 200/2,000  loss 1234  FVU 0.25  L0 30  dead 0  100 examples/s  180 s left",
    ]


def test_lines_come_now_and_then_and_at_the_end(clock):
    stream = io.StringIO()
    found = progress.Progress(10, 1, stream=stream)
    for step in range(1, 11):
        found.update(step, METRICS)
        clock[0] += 2
    found.close()
    shown = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert shown == ["1/10", "4/10", "7/10", "10/10"]


def test_a_resumed_run_counts_its_rate_from_where_it_goes_on(clock):
    stream = io.StringIO()
    found = progress.Progress(1000, 2, first_step=500, stream=stream)
    found.update(600, METRICS)
    clock[0] += 10
    found.update(700, METRICS)
    assert stream.getvalue().splitlines()[1].endswith("20 examples/s  30 s left")


def test_metrics_that_are_not_there_are_not_shown(clock):
    stream = io.StringIO()
    progress.Progress(10, 1, stream=stream).update(10, {"loss": 1.0})
    assert stream.getvalue() == "step 10/10  loss 1\n"


def test_on_a_terminal_there_is_a_bar():
    stream = Terminal()
    found = progress.Progress(4, 10, stream=stream)
    found.update(1, METRICS)
    found.update(4, METRICS)
    found.close()
    shown = stream.getvalue()
    assert "\r" in shown
    last = shown.rstrip().split("\r")[-1]
    assert last.startswith("100% |")
    assert "| 4/4 [" in last
    assert last.rstrip().endswith("loss 12.3, FVU 0.25, L0 30, dead 0")
    assert "step 4/4" not in shown


def test_the_bar_of_a_resumed_run_begins_where_it_goes_on():
    stream = Terminal()
    found = progress.Progress(4, 10, first_step=2, stream=stream)
    found.close()
    assert " 50% |" in stream.getvalue()
    assert "| 2/4 [" in stream.getvalue()
