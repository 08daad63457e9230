import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.analysis import dump, language
from sae_jax.data import activations, corpus
from sae_jax.lm import folder
from sae_jax.store import reader, writer
from sae_jax.text import base as text
from tests.lm import tiny

SITES = ("resid_post.1", "mlp_out.2")
TEXTS = text.Texts(
    "made", [("the hen. " * (1 + i % 5) + "abcdefghij"[: i % 10]).strip() for i in range(40)]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.write(path)
    return folder.load(str(path))


def _write(model, where, batch_size=4, **knobs):
    tokens = corpus.cut(model, TEXTS.documents, 12, held_out=0.1)
    plan = dump.plan(model, TEXTS, tokens, SITES, **({"dtype": "float32"} | knobs))
    found = writer.Writer(where, plan, tokens.sequences)
    assert dump.write(model, tokens, found, batch_size)
    return tokens, reader.Store(where)


def test_rows_are_the_activations_of_tokens_in_order(model, tmp_path):
    tokens, store = _write(model, tmp_path, shard_bytes=2000)
    assert len(store.plan.shards) > 4
    sequences = tokens.sequences
    assert store.plan.starts[-1] == sequences.lengths.sum()
    for number in (0, 7, len(sequences.ids) - 1):
        ids = sequences.ids[number : number + 1, : sequences.lengths[number]]
        captured = model.run(ids, capture=SITES, logits=False).captured
        rows = np.arange(sequences.starts[number], sequences.starts[number + 1])
        for site in SITES:
            found = store.read(site, rows)[""]
            np.testing.assert_allclose(found, captured[site][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(store.sequences.tokens(rows), ids[0])


def test_first_tokens_are_special_and_documents_are_held_out_whole(model, tmp_path):
    tokens, store = _write(model, tmp_path)
    sequences = tokens.sequences
    assert set(sequences.starts[:-1]) <= set(store.excluded.tolist())
    of = {}
    first = 0
    for split, count in tokens.splits.items():
        of[split] = set(sequences.documents[first : first + count].tolist())
        first += count
    assert {split: len(found) for split, found in of.items()} == {
        "train": 32,
        "valid": 4,
        "test": 4,
    }
    assert not of["train"] & of["valid"]
    assert not of["test"] & (of["train"] | of["valid"])
    joined = {}
    for ids, length, document in zip(
        sequences.ids, sequences.lengths, sequences.documents, strict=True
    ):
        joined.setdefault(document, []).extend(ids[:length].tolist())
    for document, ids in joined.items():
        whole = model.tokenizer.encode(TEXTS.documents[document])
        assert ids == whole[: len(ids)]
        assert len(whole) - len(ids) <= 1  # A last piece of one token is left out.


def test_a_dump_does_not_depend_on_how_it_was_interrupted(model, tmp_path):
    tokens, _ = _write(model, tmp_path / "whole", shard_bytes=2000)
    plan = dump.plan(model, TEXTS, tokens, SITES, "float32", shard_bytes=2000)
    for process in (2, 0, 1):
        found = writer.Writer(tmp_path / "shared", plan, tokens.sequences)
        done = dump.write(model, tokens, found, 4, process, 3)
    assert done
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "checked.json":
            there = tmp_path / "shared" / path.relative_to(tmp_path / "whole")
            assert there.read_bytes() == path.read_bytes(), path.name


@pytest.fixture(scope="module")
def spliced(model, tmp_path_factory):
    tokens, store = _write(model, tmp_path_factory.mktemp("store"))

    def sums(reconstruct, *sites, batch_size=3):
        sites = sites or ("resid_post.1",)
        means = [store.statistics[f"{site}/mean"].astype(np.float32) for site in sites]
        where = language.Sites(sites, sites, tuple(means))
        chosen = range(len(tokens.sequences.ids))
        return language.sums(model, reconstruct, where, tokens.sequences, chosen, batch_size)

    return sums, store


# All at once each is in its own place too.
@pytest.mark.parametrize("site", [SITES[0], pytest.param(SITES[1], marks=pytest.mark.slow)])
def test_an_activation_in_its_own_place_changes_nothing(spliced, site):
    found = language.finish(spliced[0](lambda x: x, site))
    assert found["delta_ce"] == pytest.approx(0, abs=1e-6)
    assert found["recovered_zero"] == found["recovered_mean"] == pytest.approx(1, abs=1e-5)
    assert found["kl"] == pytest.approx(0, abs=1e-6)
    assert found["kl_recovered_zero"] == pytest.approx(1, abs=1e-5)


def test_several_sites_are_replaced_at_once(spliced):
    sums, store = spliced
    found = language.finish(sums(lambda x: x, *SITES))
    assert found["delta_ce"] == pytest.approx(0, abs=1e-6)
    # The first is before the second and stays as it is: what is made of the second alone counts.
    one = sums(lambda x: 0.5 * x, SITES[1])
    of_site = dict(zip(SITES, (1.0, 0.5), strict=True))
    for order in (SITES, SITES[::-1]):
        factor = np.concatenate([np.full(store.plan.sites[s], of_site[s]) for s in order])
        both = sums(lambda x, factor=factor: x * factor[None].astype(np.float32), *order)
        np.testing.assert_allclose(both["ce/reconstruction"], one["ce/reconstruction"], rtol=1e-5)
        for case in ("ce/zero", "ce/mean"):
            assert np.abs(both[case] - one[case]).max() > 1e-3


def test_ablated_activations_have_the_losses_of_ablations(spliced):
    sums, store = spliced
    mean = jnp.asarray(store.statistics["resid_post.1/mean"], jnp.float32)
    by_mean = language.finish(sums(lambda x: jnp.broadcast_to(mean, x.shape)))
    assert by_mean["ce_spliced"] == pytest.approx(by_mean["ce_mean"], rel=1e-6)
    assert by_mean["recovered_mean"] == pytest.approx(0, abs=1e-5)
    by_zero = language.finish(sums(jnp.zeros_like))
    assert by_zero["recovered_zero"] == pytest.approx(0, abs=1e-5)
    assert by_zero["kl_recovered_zero"] == pytest.approx(0, abs=1e-5)
    assert by_zero["ce_zero"] == pytest.approx(by_mean["ce_zero"])


def test_sums_are_of_documents_and_do_not_depend_on_the_batch(spliced, monkeypatch):
    monkeypatch.setattr(corpus, "_WIDTHS", 1)
    small, large = (spliced[0](lambda x: 0.5 * x, batch_size=size) for size in (2, 7))
    assert len(small["tokens"]) == 40
    for name, total in small.items():
        np.testing.assert_allclose(total, large[name], rtol=1e-5, atol=1e-5)


def test_what_is_predicted_at_the_first_token_does_not_count(spliced, model):
    tokens = corpus.cut(model, TEXTS.documents, 12, held_out=0.1).sequences
    found = spliced[0](lambda x: x)
    assert found["tokens"].sum() == (tokens.lengths - 2).sum()


def test_no_token_is_an_error():
    with pytest.raises(errors.DataError, match="no token is left"):
        language.finish({"tokens": np.zeros(2)})


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.analysis import dump_test
dump_test.go_on(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def go_on(model_folder, where):
    """Writes what is missing of a store, slowly, in a process that will be killed."""
    model = folder.load(str(model_folder))
    tokens = corpus.cut(model, TEXTS.documents, 12, held_out=0.1)
    plan = dump.plan(model, TEXTS, tokens, SITES, "float32", shard_bytes=1000)
    found = writer.Writer(where, plan, tokens.sequences)
    print("begun", flush=True)
    dump.write(model, tokens, found, 4, progress=lambda rows: time.sleep(0.02))
    print("done", flush=True)


@pytest.mark.slow
def test_a_writer_that_is_killed_twenty_times_leaves_the_same_store(tmp_path):
    (tmp_path / "model").mkdir()
    tiny.write(tmp_path / "model")
    root = str(tmp_path.cwd())
    command = [sys.executable, "-c", KILLED.format(root=root), str(tmp_path / "model")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    draw, done = np.random.RandomState(0), False
    for _ in range(20):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        done = b"done" in process.communicate()[0]
    if not done:
        subprocess.run([*command, str(tmp_path / "killed")], check=True)
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "checked.json":
            there = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
            assert there.read_bytes() == path.read_bytes(), path.name
    leftover = {path.suffix for path in (tmp_path / "killed" / "shards").iterdir()}
    assert leftover == {".safetensors", ".json"}


def test_the_store_can_be_trained_on(model, tmp_path):
    _write(model, tmp_path, dtype="int8")
    data = activations.load("train", str(tmp_path), "resid_post.1")
    rows = data.rows(data.order(0, np.asarray(0), 16))
    assert {name: array.dtype.name for name, array in rows.items()} == {
        "resid_post.1": "int8",
        "resid_post.1/scale": "float32",
    }
