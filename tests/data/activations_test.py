import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import activations
from sae_jax.store import plan as plans, writer

SITES = {"resid_post.0": 6, "mlp_in.1": 6, "mlp_out.1": 4}


def _store(folder, dtype="float32", start=0, sites=SITES):
    plan = plans.Plan(sites, dtype, {"train": [20, 17], "test": [9]}, {"start": start})
    found = writer.Writer(folder, plan)
    for number in found.missing():
        rows = start + plan.starts[number] + np.arange(plan.shards[number])
        of = {site: rows[:, None] + 1000.0 * np.arange(width) for site, width in sites.items()}
        found.write(number, of, rows % 10 == 0)
    found.finish()
    return str(folder)


def _batch(data, index):
    raw = {name: jnp.asarray(array) for name, array in data.rows(index).items()}
    return data.decode(raw)


@pytest.fixture
def store(tmp_path):
    return _store(tmp_path / "store")


def test_examples_are_the_rows_that_are_not_excluded(store):
    data = activations.load("train", store, "resid_post.0")
    there = [row for row in range(37) if row % 10]
    assert data.length == len(there)
    assert data.spec.shape == (6,)
    x = _batch(data, np.arange(data.length)).x
    np.testing.assert_array_equal(x[:, 0], there)
    np.testing.assert_array_equal(x[:, 5] - x[:, 0], 5000.0)
    on_device = jax.jit(data.at)(jax.tree.map(jnp.asarray, data.source), jnp.array([3, 0, 32]))
    np.testing.assert_array_equal(on_device.x[:, 0], [there[3], there[0], there[32]])


def test_sites_lie_one_behind_the_other_and_targets_apart(store):
    two = activations.load("test", store, ("resid_post.0", "mlp_in.1"))
    assert (two.spec.shape, two.spec.grid) == ((12,), (2, 6))
    transcoder = activations.load("test", store, "mlp_in.1", "mlp_out.1")
    assert (transcoder.spec.d_in, transcoder.spec.d_out) == (6, 4)
    batch = _batch(transcoder, np.arange(3))
    np.testing.assert_array_equal(batch.x[:, 0], [37, 38, 39])
    np.testing.assert_array_equal(batch.target, batch.x[:, :4])


def test_an_epoch_sees_each_row_once_and_another_order_each_time(store):
    data = activations.load("train", store, "resid_post.0")
    epochs = [
        np.concatenate([data.order(3, np.asarray(11 * epoch + step), 3) for step in range(11)])
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(33))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_blocks_stay_together(store):
    data = dataclasses.replace(activations.load("train", store, "mlp_out.1", block=4))
    index = np.concatenate([data.order(0, np.asarray(step), 8) for step in range(4)])
    blocks = index.reshape(-1, 4)
    assert (blocks - blocks[:, :1] == np.arange(4)).all()
    assert sorted(blocks[:, 0].tolist()) == list(range(0, 32, 4))
    traced = jax.jit(lambda step: data.order(0, step, 8))(jnp.int32(2))
    np.testing.assert_array_equal(traced, index[16:24])


def test_each_store_gives_its_share_of_every_batch(tmp_path):
    folders = [_store(tmp_path / "a"), _store(tmp_path / "b", start=100)]
    data = activations.load("train", folders, "mlp_out.1", weights=(3, 1))
    seen = []
    for step in range(30):
        x = np.asarray(_batch(data, data.order(1, np.asarray(step), 8)).x[:, 0])
        assert (x < 100).sum() == 6
        seen.extend(x[x >= 100])
    assert len(set(seen[:32])) == 32  # One epoch of the second store, 33 rows, of them 2 a step.
    even = activations.load("train", folders, "mlp_out.1")
    assert even.shares == (0.5, 0.5)


def test_a_small_store_may_give_more_than_it_has(tmp_path):
    folders = [_store(tmp_path / "a"), _store(tmp_path / "b", start=100)]
    data = activations.load("train", folders, "mlp_out.1", weights=(1, 15))
    index = data.order(0, np.asarray(3), 64)
    _, times = np.unique(index[index >= 33], return_counts=True)
    assert (len(index), len(times), set(times)) == (64, 33, {1, 2})  # 60 of 33 rows.
    np.testing.assert_array_equal(jax.jit(lambda step: data.order(0, step, 64))(3), index)
    twice = np.concatenate([data.order(0, np.asarray(step), 64) for step in range(2)])
    assert len(np.unique(twice[twice >= 33])) == 33


def test_any_number_of_rows_can_be_asked_for_in_blocks(store):
    data = activations.load("train", store, "mlp_out.1", block=4)
    for size in (1, 6, 33):
        assert data.order(0, np.asarray(1), size).shape == (size,)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_small_types_are_decoded_on_the_device(tmp_path, dtype):
    folder = _store(tmp_path / "store", dtype)
    data = activations.load("train", folder, "mlp_out.1")
    exact = np.asarray(
        activations.load("train", _store(tmp_path / "f32"), "mlp_out.1").source["mlp_out.1"]
    )
    x = np.asarray(_batch(data, np.arange(data.length)).x)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, exact, atol=3037 / 127 if dtype == "int8" else 3037 / 256)


def test_what_cannot_be_is_said(tmp_path, store):
    with pytest.raises(errors.DataError, match="needs --config.data.store=FOLDER"):
        activations.load("train", "")
    with pytest.raises(errors.DataError, match="several sites: set data.site to one of resid_po"):
        activations.load("train", store)
    with pytest.raises(errors.DataError, match='no site "resid_post.9": it has resid_post.0, '):
        activations.load("train", store, "resid_post.9")
    with pytest.raises(errors.DataError, match='no split "valid": it has train, test'):
        activations.load("valid", store, "mlp_out.1")
    other = _store(tmp_path / "other", sites={"mlp_out.1": 5})
    with pytest.raises(errors.DataError, match="rows of 5 at mlp_out.1, .*they do not mix"):
        activations.load("train", [store, other], "mlp_out.1")
    with pytest.raises(errors.DataError, match="give each of the 1 stores"):
        activations.load("train", store, "mlp_out.1", weights=(1, 2))


@pytest.mark.parametrize("damaged", ["refuse", "skip"])
def test_a_file_beside_the_shards_cannot_be_left_out(tmp_path, store, damaged):
    (tmp_path / "store" / writer.STATISTICS).unlink()
    with pytest.raises(errors.DataError, match="statistics.safetensors is not there: run the same"):
        activations.load("train", store, "mlp_out.1", damaged=damaged)


def test_the_fingerprint_tells_one_store_from_another(tmp_path, store):
    def of(folder):
        return activations.load("train", folder, "mlp_out.1").fingerprint()

    assert of(store) == of(_store(tmp_path / "same"))
    assert of(store) != of(_store(tmp_path / "other", start=1))


def test_rows_of_a_store_are_numbered_and_the_excluded_are_not(store):
    (kept,) = activations.load("test", store, "resid_post.0").kept
    np.testing.assert_array_equal(kept.index(np.array([37, 39, 40, 41, 45])), [0, 2, -1, 3, 7])
    every = np.arange(kept.length)
    np.testing.assert_array_equal(kept.index(kept.rows(every)), every)
