"""Kills one training run again and again, and shows that it ends as an undisturbed one does.

python -m benchmarks.resume --kills=20

The same command is started, killed by SIGKILL at a random moment (while it compiles, trains, saves,
evaluates or draws), and started again, until so many kills are done; then it may finish. Parameters
and optimiser state must be equal byte for byte, `metrics.jsonl` and `results.json` line for line.
"""

import dataclasses
import hashlib
from pathlib import Path
import random
import subprocess
import sys
import tempfile
import time

from absl import app, flags, logging
import jax
import numpy as np

from experiments import run

_KILLS = flags.DEFINE_integer("kills", 20, "How often the run is killed.")
_LONGEST = flags.DEFINE_float("longest", 8.0, "Seconds that a process lives at the most.")
_SEED = flags.DEFINE_integer("kill_seed", 0, "Of the moments.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the two runs are kept. Default: nowhere.")

# Small enough to finish in seconds, with a checkpoint every twenty steps.
ARGUMENTS = (
    "--config=configs/sparse_mnist.py:debug",
    "--config.num_steps=8000",
    "--config.log_every=5",
    "--config.eval_every=50",
    "--config.checkpoint_every=20",
    "--config.model.d_sae=256",
    "--config.data.split=train[:4096]",
)


def command(folder: Path) -> list[str]:
    """Returns the command that trains in `folder`."""
    return [sys.executable, "-m", "experiments.main", *ARGUMENTS, f"--workdir={folder}"]


def digest(folder: Path) -> str:
    """Returns a hash over every byte of the run's last state."""
    _, state = run.load(folder)
    state = dataclasses.replace(state, key=jax.random.key_data(state.key))
    text = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        text.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return text.hexdigest()


def kill(folder: Path, kills: int, longest: float, seed: int) -> None:
    """Kills the run so often, then lets it finish.

    Every kill ends a process of the one unfinished run.
    """
    moments = random.Random(seed)
    for count in range(kills):
        process = subprocess.Popen(
            command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.1, longest))
        running = process.poll() is None
        process.kill()
        process.wait()
        if not running:
            sys.exit(f"the run ended after {count} kills: lower --longest")
    subprocess.run(command(folder), check=True, stdout=subprocess.DEVNULL)


def compare(undisturbed: Path, killed: Path) -> list[str]:
    """Returns what differs between two finished runs."""
    found = []
    if digest(undisturbed) != digest(killed):
        found.append("the last states")
    for name in ("metrics.jsonl", "results.json"):
        if (undisturbed / name).read_bytes() != (killed / name).read_bytes():
            found.append(name)
    return found


def main(argv: list[str]) -> None:
    """Runs, kills, compares, prints."""
    del argv
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(_FOLDER.value or temporary)
        start = time.monotonic()
        subprocess.run(command(root / "undisturbed"), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        kill(root / "killed", _KILLS.value, _LONGEST.value, _SEED.value)
        differing = compare(root / "undisturbed", root / "killed")
        verdict = f"differ in {', '.join(differing)}" if differing else "equal, byte for byte"
        print(f"{_KILLS.value} SIGKILLs of one run: {verdict}")
        sys.exit(bool(differing))


if __name__ == "__main__":
    app.run(main)
