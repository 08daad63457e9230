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
