"""Measures how fast shuffled activations come from a store: `python -m benchmarks.loader`.

Batches of 4,096 bfloat16 rows of 768, by the exact permutation that training reads in, from the
page cache: read on the host, and read and put on the device as float32. Beside them, the same
number of rows that NumPy gathers from an array in memory.
"""

from pathlib import Path
import platform
import statistics
import tempfile
import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import records, timing
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
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        seconds = _write(Path(folder))
        size = _ROWS.value * _WIDTH.value * 2
        print(f"{_ROWS.value:,} x {_WIDTH.value} bfloat16, {size / 1e6:,.0f} MB")
        rates["written"] = _ROWS.value / seconds
        rates["from memory"] = statistics.median(_gathered() for _ in range(_ROUNDS.value))
        for name in rates:
            print(f"{name:<26}{rates[name]:12,.0f} rows/s")
        for block in _BLOCKS:
            data = activations.load("train", folder, block=block)
            for name, put in (("host", False), ("device", True)):
                found = [_rate(data, round_, put) for round_ in range(_ROUNDS.value)]
                rates[f"block {block}, to the {name}"] = rate = statistics.median(found)
                print(
                    f"block {block:>4}, to the {name:<7}{rate:12,.0f} rows/s"
                    f"  ({min(found):,.0f} to {max(found):,.0f})",
                    flush=True,
                )
    records.save(
        records.make(
            "benchmarks.loader",
            {
                f"{name} / from memory": rate / rates["from memory"]
                for name, rate in rates.items()
                if name.startswith("block")
            },
            {f"{name}, rows/s": round(rate) for name, rate in rates.items()},
            {"jax": jax.__version__},
            timing.device(jax.devices()[0]),
        )
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


def _gathered() -> float:
    """Returns the rate of `x[index]`, for shuffled rows of an array in memory of the same bytes."""
    rows = np.ones((_ROWS.value, _WIDTH.value), np.uint16)
    index = np.random.default_rng(0).permutation(_ROWS.value)
    start = time.perf_counter()
    for step in range(_BATCHES):
        first = step * _BATCH.value % _ROWS.value
        rows[index[first : first + _BATCH.value]]
    return _BATCHES * _BATCH.value / (time.perf_counter() - start)


def _batch(data: activations.Activations, step: int) -> dict[str, np.ndarray]:
    return data.rows(data.order(0, np.asarray(step), _BATCH.value))


if __name__ == "__main__":
    app.run(main)
