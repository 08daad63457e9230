"""Shows how far a run is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import TextIO

import tqdm

_SHOWN = {"loss": "loss", "fvu": "FVU", "l0": "L0", "dead": "dead"}
_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells rate, time left and the numbers that matter."""

    def __init__(
        self, num_steps: int, batch_size: int, first_step: int = 0, stream: TextIO | None = None
    ) -> None:
        """Shows nothing yet but the bar."""
        self._stream = stream or sys.stderr
        self._num_steps, self._batch_size = num_steps, batch_size
        self._first = self._last = first_step
        self._started: float | None = None
        self._shown = 0.0
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=num_steps,
                initial=first_step,
                unit="step",
                dynamic_ncols=True,
                file=self._stream,
                bar_format="{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt} "
                "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
            )

    def update(self, step: int, metrics: dict[str, float]) -> None:
        """Tells that `step` steps are done, and the metrics of the last of them."""
        now = time.monotonic()
        if self._started is None:  # The first steps wait for the compiler: no rate from them.
            self._started, self._first = now, step
        numbers = [
            f"{label} {_short(metrics[name])}" for name, label in _SHOWN.items() if name in metrics
        ]
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(numbers), refresh=False)
            self._bar.update(step - self._last)
        elif now - self._shown > _SECONDS_BETWEEN_LINES or step == self._num_steps:
            self._shown = now
            print(self._line(step, now, numbers), file=self._stream, flush=True)
        self._last = step

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, step: int, now: float, numbers: list[str]) -> str:
        parts = [f"step {step:,}/{self._num_steps:,}", *numbers]
        assert self._started is not None
        if step > self._first:
            rate = (step - self._first) / (now - self._started)
            left = (self._num_steps - step) / rate
            parts += [f"{rate * self._batch_size:,.0f} examples/s", f"{left:.0f} s left"]
        return "  ".join(parts)


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
