"""Measures how fast shuffled activations come from a store: `python -m benchmarks.loader`.

Batches of 4,096 bfloat16 rows of 768, by the exact permutation that training reads in, from the
page cache: read on the host, and read and put on the device as float32.
"""

from pathlib import Path
import platform
import tempfile
import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from sae_jax.data import activations
from sae_jax.store import plan as plans, writer

_ROWS = flags.DEFINE_integer("rows", 2**19, "Of the store.", 2**13)
_WIDTH = flags.DEFINE_integer("width", 768, "Numbers of a row.", 1)
_BATCH = flags.DEFINE_integer("batch", 4096, "Rows of a batch.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of which the median is printed.", 1)
_BLOCKS = (1, 16, 256)
_BATCHES = 24  # Of a round.
_SHARD = 2**16


def main(argv: list[str]) -> None:
    """Writes a store, reads it, and prints rows per second."""
    del argv
    print(f"{jax.default_backend()}, jax {jax.__version__}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        seconds = _write(Path(folder))
        size = _ROWS.value * _WIDTH.value * 2
        print(f"{_ROWS.value:,} x {_WIDTH.value} bfloat16, {size / 1e6:,.0f} MB")
        print(f"written    {_ROWS.value / seconds:12,.0f} rows/s")
        for block in _BLOCKS:
            data = activations.load("train", folder, block=block)
            for name, put in (("host", False), ("device", True)):
                rates = [_rate(data, round_, put) for round_ in range(_ROUNDS.value)]
                print(
                    f"block {block:>4}, to the {name:<7}{np.median(rates):12,.0f} rows/s"
                    f"  ({min(rates):,.0f} to {max(rates):,.0f})",
                    flush=True,
                )


def _write(folder: Path) -> float:
    """Writes random rows; returns the seconds that it took."""
    count = _ROWS.value
    shards = [min(_SHARD, count - first) for first in range(0, count, _SHARD)]
    plan = plans.Plan({"x": _WIDTH.value}, "bfloat16", {"train": shards}, {"of": "a benchmark"})
    store = writer.Writer(folder, plan)
    rows = np.random.default_rng(0).standard_normal((_SHARD, _WIDTH.value), np.float32)
    start = time.perf_counter()
    for number in store.missing():
        store.write(number, {"x": rows[: shards[number]]})
    store.finish()
    return time.perf_counter() - start


def _rate(data: activations.Activations, round_: int, put: bool) -> float:
    decode = jax.jit(data.decode)
    if put:
        jax.block_until_ready(decode(_batch(data, 0)))
    start = time.perf_counter()
    for step in range(_BATCHES):
        raw = _batch(data, _BATCHES * round_ + step)
        if put:
            jax.block_until_ready(decode(jax.tree.map(jnp.asarray, raw)))
    return _BATCHES * _BATCH.value / (time.perf_counter() - start)


def _batch(data: activations.Activations, step: int) -> dict[str, np.ndarray]:
    return data.rows(data.order(0, np.asarray(step), _BATCH.value))


if __name__ == "__main__":
    app.run(main)
