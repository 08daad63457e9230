import dataclasses

import jax
from jax.sharding import AxisType
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.data import base, corpus, stream
from sae_jax.lm import folder
from tests.lm import tiny

SITES = ("resid_post.1", "mlp_out.2")
DOCUMENTS = ["the hen. " * (1 + i % 5) + "abcdefghij"[: i % 10] for i in range(30)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.write(path)
    return folder.load(str(path))


@pytest.fixture(scope="module")
def data(model):
    tokens = corpus.cut(model, DOCUMENTS, 12, held_out=0.1)
    return stream.load("train", model, tokens, SITES, buffer=100, batch_size=4, outlier=0)


def _mesh(count):
    kinds = (AxisType.Auto,) * 2
    devices = jax.devices()[:count]
    return jax.make_mesh((count, 1), ("data", "dictionary"), axis_types=kinds, devices=devices)


def test_an_example_is_a_token_that_is_not_special(data, model):
    found = data.rows(np.arange(data.length))
    row = 0
    for ids, length in zip(data.sequences.ids, data.sequences.lengths, strict=True):
        captured = model.run(ids[None, :length], capture=SITES, logits=False).captured
        kept = np.flatnonzero(~corpus.special(model.tokenizer, ids[None, :length])[0])
        for site in SITES:
            mine = found[site][row : row + len(kept)]
            np.testing.assert_allclose(mine, captured[site][0, kept], rtol=1e-4, atol=1e-5)
        row += len(kept)
    assert row == data.length
    batch = data.decode({site: array[:3] for site, array in found.items()})
    np.testing.assert_array_equal(batch.x, np.concatenate([found[s][:3] for s in SITES], axis=1))
    assert data.spec.d_in == batch.x.shape[1]


def test_every_example_is_met_as_often_as_the_others(data):
    size, steps = 100, 40
    orders = [data.order(3, step, 20) for step in range(steps)]
    assert data.length % size
    counts = np.bincount(np.concatenate(orders), minlength=data.length)
    assert set(counts) <= {steps * 20 // data.length, steps * 20 // data.length + 1}
    assert not np.array_equal(orders[0], data.order(4, 0, 20))
    assert (np.diff(orders[0]) != 1).any()


@pytest.mark.parametrize("count", [1, 4])
def test_a_window_on_the_devices_has_the_rows_of_its_steps(data, count):
    mesh = _mesh(count)
    put = data.put(mesh)
    size = data.window(30)
    assert size == 90
    for number in (0, 4):
        rows = put.filled(5, number, 30, mesh)
        for step in range(3 * number, 3 * number + 3):
            index = base.order(5, np.asarray(step), 30, size)
            expected = data.rows(data.order(5, step, 30))
            for site, array in rows.items():
                assert array.sharding.is_fully_replicated
                found = np.asarray(array)[index]
                np.testing.assert_allclose(found, expected[site], rtol=1e-4, atol=1e-5)
        shapes = data.like(30, mesh)
        assert {site: (leaf.shape, leaf.dtype) for site, leaf in shapes.items()} == {
            site: (array.shape, array.dtype) for site, array in rows.items()
        }


def test_an_outlier_gives_its_place_to_a_usual_token_beside_it(data, model):
    everything = data.rows(np.arange(data.length))
    norms = {site: np.linalg.norm(array, axis=1) for site, array in everything.items()}
    strict = dataclasses.replace(data, outlier=1.2)
    found = strict.rows(np.arange(data.length))
    usual = np.all([norms[site] <= strict.largest[site] for site in SITES], axis=0)
    assert 0 < usual.sum() < data.length
    sequence = np.searchsorted(data._starts, np.arange(data.length), side="right") - 1
    for row in range(data.length):
        beside = np.flatnonzero(usual & (sequence == sequence[row]))
        before = beside[beside <= row]
        instead = before[-1] if len(before) else beside[0] if len(beside) else row
        for site in SITES:
            np.testing.assert_allclose(
                found[site][row], everything[site][instead], rtol=1e-4, atol=1e-5
            )


def test_targets_are_of_their_own_sites(model):
    tokens = corpus.cut(model, DOCUMENTS, 12)
    data = stream.load("test", model, tokens, "mlp_in.1", "mlp_hidden.1")
    batch = data.decode(data.rows(np.arange(2)))
    assert (batch.x.shape, batch.y.shape) == ((2, 16), (2, 24))
    assert data.spec.d_out == 24


def test_what_is_not_there_is_named(model):
    tokens = corpus.cut(model, DOCUMENTS, 12)
    with pytest.raises(errors.DataError, match="there are train, valid, test"):
        stream.load("all", model, tokens, "mlp_in.1")
    with pytest.raises(errors.UserError, match="is no site of"):
        stream.load("test", model, tokens, "mlp_inn.1")
    with pytest.raises(errors.UserError, match="needs --config.data.site=SITE"):
        stream.load("test", model, tokens, "")


def test_other_tokens_are_other_data(data, model):
    other = stream.load("test", model, corpus.cut(model, DOCUMENTS, 12), SITES)
    assert other.fingerprint() != data.fingerprint()
