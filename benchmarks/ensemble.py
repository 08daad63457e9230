"""Measures what training sixteen runs by one program saves: `python -m benchmarks.ensemble`.

Seconds of a whole command, from its start to its table: `launch.local --together` of a sweep of
sixteen trials (four weights of the L1 term, four seeds) against the sixteen commands of its trials,
one after the other. Either begins without compiled programs and keeps those that it makes, as a
first sweep does.
"""

import json
import os
from pathlib import Path
import shlex
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from launch import trials as trials_lib
from sae_jax import fetch

_STEPS = flags.DEFINE_integer("steps", 600, "Optimiser steps of each run.", 1)
_SIZES = flags.DEFINE_list("sizes", ["digits", "mnist"], "Which of the two to measure.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the runs are kept. Default: nowhere.")
_CONFIG = '''
from configs.sparse_mnist import get_config
from sae_jax import sweep

def sixteen() -> sweep.Sweep:
    """Four weights of the L1 term, four seeds."""
    weights = sweep.grid("loss.l1.value", 0.1, 0.2, 0.3, 0.4)
    return sweep.product(weights, sweep.grid("seed", 0, 1, 2, 3))
'''
_SETTINGS = {
    "digits": ("64 -> 256", ["--config.data.name=digits", "--config.model.d_sae=256"]),
    "mnist": ("784 -> 1,024", []),
}


def measure(steps: int, root: Path, sizes: list[str]) -> dict[str, float]:
    """Returns for each size how many times as long the commands of the trials take.

    Args:
      steps: of each run.
      root: an empty folder.
      sizes: "digits", "mnist".
    """
    config = root / "sixteen.py"
    config.write_text(_CONFIG)
    ratios = {}
    for size in sizes:
        about, extra = _SETTINGS[size]
        extra = [*extra, f"--config.num_steps={steps}"]
        trials = trials_lib.make(str(config), "sixteen", root / size / "alone", extra=extra)
        whole = [sys.executable, "-m", "launch.local", f"--config={config}", "--sweep=sixteen"]
        whole += [f"--root={root / size / 'together'}", "--together", "--", *extra]
        together = _seconds(whole, _cache(root / size / "cache together"))
        cache = _cache(root / size / "cache alone")
        alone = [_seconds(trial.argv, cache) for trial in trials]
        ratios[size] = sum(alone) / together
        print(
            f"{about:<14}{steps:>6,} steps, {len(trials)} runs: {sum(alone):.1f} s one by one "
            f"({min(alone):.1f} to {max(alone):.1f} each), {together:.1f} s together, "
            f"{ratios[size]:.2f} times",
            flush=True,
        )
    return ratios


def _cache(folder: Path) -> Path:
    """Returns a cache that has the data of the usual one, but no compiled programs."""
    usual = fetch.cache_folder()
    folder.mkdir(parents=True)
    for entry in usual.iterdir() if usual.is_dir() else ():
        if entry.name != "xla":
            (folder / entry.name).symlink_to(entry.resolve())
    return folder


def _seconds(command: list[str] | tuple[str, ...], cache: Path) -> float:
    """Returns how long a command takes."""
    environment = os.environ | {"SAE_JAX_CACHE": str(cache.resolve())}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def main(argv: list[str]) -> None:
    """Measures and prints, in the last line as JSON."""
    del argv
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(_FOLDER.value or temporary)
        root.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(_STEPS.value, root, _SIZES.value)))


if __name__ == "__main__":
    app.run(main)
