"""Time from the command to the first finished step of the main job: `python -m benchmarks.startup`.

With a cold cache of compiled programs and with a warm one, in turn, beside what importing jax, flax
and optax alone takes. The first step is finished when its row of metrics is written, which asks for
`--config.log_every=1`; the program is the same as with any other number. Before anything is
measured the job is started once, so that its data lie in the cache.
"""

import contextlib
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import records, timing
from experiments import cli
from sae_jax import fetch

_CONFIG = flags.DEFINE_string("config", "configs/sparse_mnist.py", "Of the job.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of which medians are printed.", 1)
_DEBUG = flags.DEFINE_bool("debug", False, "One round, of a few examples.")

_BAR = 5.0  # Seconds, with a warm cache.
_LONGEST = 300.0  # Seconds.
_LOOK = 0.005  # Seconds between two looks for the row.
_IMPORTS = "import jax, flax.linen, optax; jax.devices()"


def main() -> int:
    """Measures, prints medians, and returns 1 if a warm start takes longer than the bar."""
    found: dict[str, list[float]] = {"imports alone": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        _first_step(fetch.cache_folder(), Path(folder) / "before")
    for _ in range(1 if _DEBUG.value else _ROUNDS.value):
        found["imports alone"].append(_imports())
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            _share_data(cache)
            for name in ("cold", "warm"):
                found[name].append(_first_step(cache, Path(folder) / name))
    print(timing.machine())
    for name, took in found.items():
        print(f"{name:<15}{statistics.median(took):6.2f} s  ({min(took):.2f} to {max(took):.2f})")
    median = {name: statistics.median(took) for name, took in found.items()}
    late = median["warm"] > _BAR
    print(f"bar: warm {_BAR:g} s or less, {'missed' if late else 'kept'}")
    ratios = {
        f"imports / {name}": median["imports alone"] / median[name] for name in ("cold", "warm")
    }
    numbers = {f"{name}, seconds": round(value, 2) for name, value in median.items()}
    records.save(records.make("benchmarks.startup", ratios, numbers, {}))
    return int(late)


def _imports() -> float:
    return timing.clocked(lambda: subprocess.run([sys.executable, "-c", _IMPORTS], check=True))()


def _share_data(cache: Path) -> None:
    """Makes a cache with the data that there are, and no compiled program."""
    cache.mkdir()
    for path in fetch.cache_folder().iterdir():
        if path.name != "xla":
            (cache / path.name).symlink_to(path)


def _first_step(cache: Path, workdir: Path) -> float:
    """Returns the seconds from the command until the row of the first step is written."""
    rows = workdir / "metrics.jsonl"
    command = [sys.executable, "-m", "experiments.main", f"--config={_CONFIG.value}"]
    command += [f"--workdir={workdir}", "--config.log_every=1"]
    if _DEBUG.value:
        command += ["--config.data.split=train[:1024]"]
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        process = stack.enter_context(
            subprocess.Popen(
                command,
                env={**os.environ, "SAE_JAX_CACHE": str(cache)},
                stdout=nowhere,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        while not (rows.exists() and "\n" in rows.read_text()):
            if process.poll() is not None or time.perf_counter() - start > _LONGEST:
                process.kill()
                said = process.communicate()[1].strip()
                raise RuntimeError(f"the job ended before its first step, or is late:\n{said}")
            time.sleep(_LOOK)
        return time.perf_counter() - start


if __name__ == "__main__":
    cli.run(main)
