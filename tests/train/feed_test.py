from pathlib import Path
import socket
import subprocess
import sys

import jax
from jax.sharding import AxisType
import numpy as np
import pytest

from sae_jax.data import base
from sae_jax.train import feed, loop

PLAN = loop.Plan(seed=3, num_steps=23, batch_size=8, log_every=5, eval_every=4, checkpoint_every=7)


@pytest.fixture
def grid():
    types, two = (AxisType.Auto,) * 2, jax.devices()[:2]
    return jax.make_mesh((2, 1), ("data", "dictionary"), axis_types=types, devices=two)


@pytest.fixture
def data():
    x = np.random.default_rng(0).integers(0, 256, (100, 6), np.uint8)
    return base.Arrays(base.Spec("random", "train", (6,)), x, np.arange(100, dtype=np.int32))


def test_every_batch_is_read_once_and_all_payloads_have_one_shape(grid, data, monkeypatch):
    source = feed.Streamed(data, grid, PLAN.batch_size, PLAN.seed, PLAN.log_every)
    reads = []
    read = source._read

    def noted(first, until):
        reads.append((first, until))
        return read(first, until)

    monkeypatch.setattr(source, "_read", noted)
    now, used = 0, []
    while now < PLAN.num_steps:
        first, now = now, PLAN.next_stop(now, source.window)
        payload = source.payload(first, now, PLAN.next_stop(now, source.window))
        used.append((first, now))
        assert payload["x"].shape == (5, 8, 6)
    source.close()
    assert reads == used


@pytest.mark.parametrize("step", [0, 3, 11, 12, 22])
def test_streamed_and_resident_give_the_batch_of_the_order(grid, data, step):
    resident = feed.Resident(data, grid, PLAN.batch_size, PLAN.seed)
    streamed = feed.Streamed(data, grid, PLAN.batch_size, PLAN.seed, PLAN.log_every)
    index = base.order(PLAN.seed, np.asarray(step), PLAN.batch_size, data.length)
    for source in (resident, streamed):
        payload = source.payload(step, step + 1, step + 1)
        take = jax.jit(source.batch)
        batch = take(payload, jax.numpy.asarray(step), jax.numpy.asarray(step))
        np.testing.assert_array_equal(batch.label, index)
        np.testing.assert_allclose(batch.x, data.x[index] / 255, rtol=1e-6)
        source.close()


# One of two processes: what it reads, and what its device holds of a payload.
_PROCESS = """
import sys
import jax, numpy as np
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from sae_jax import mesh
from sae_jax.data import base
from sae_jax.train import feed
x = np.arange(300, dtype=np.float32).reshape(100, 3)
read = []
class Data(base.Arrays):
    def rows(self, index):
        read.append(len(index))
        return super().rows(index)
data = Data(base.Spec("numbers", "train", (3,)), x)
for split, rows in ((True, 4), (False, 8)):
    source = feed.Streamed(data, mesh.make(), 8, 3, 5, split=split)
    del read[:]
    (part,) = source.payload(10, 15, 15)["x"].addressable_shards
    source.close()
    assert read == [rows] * 5, read
    own = slice(4 * int(sys.argv[2]), 4 * int(sys.argv[2]) + 4) if split else slice(None)
    wanted = [x[data.order(3, np.asarray(step), 8)[own]] for step in range(10, 15)]
    np.testing.assert_array_equal(part.data, np.stack(wanted))
"""


def test_each_process_reads_the_rows_of_its_own_devices():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, address, str(number)],
            cwd=Path(__file__).resolve().parent.parent.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
