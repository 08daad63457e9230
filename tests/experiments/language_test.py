"""From texts to a table: a store, a run on it, what the language model loses, what latents know."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from configs import llm_topk
from configs.dumps import base as dumps
from experiments import build, intervals, language, report, stores, topics, words
from sae_jax import errors
from sae_jax.text import base as text, brown
from sae_jax.train import checkpoint, evaluate as evaluation_loop, loop, writer
from tests.lm import tiny


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A dump of a random language model that reads texts of two classes."""
    where = tmp_path_factory.mktemp("recipe")
    tiny.write(where / "model")
    draw = np.random.RandomState(0)
    lines = []
    for number in range(160):
        letters = ("abcde", "vwxyz")[number % 2]
        words = "".join(draw.choice(list(letters + " "), 40))
        lines.append(json.dumps({"text": words, "label": letters}))
    (where / "texts.jsonl").write_text("\n".join(lines))
    config = dumps.get_config()
    config.lm.update(name="folder", path=str(where / "model"))
    config.text.update(name="files", path=str(where / "texts.jsonl"))
    config.update(sites=("resid_post.1",), length=16, held_out=0.2, dtype="float32")
    return config


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """Config, task and first state of a run on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "recipe", lambda path: recipe)
        config = llm_topk.get_config("debug")
        config.data.store = (str(tmp_path_factory.mktemp("store")),)
        config.model.d_sae = 32
        config.model.activation.k = 4
        with pytest.raises(errors.DataError, match=r"python -m experiments.dump --config=configs"):
            build.task(config)
        stores.write_missing(config)
        task = build.task(config)
        yield config, task, loop.initialise(task, loop.template(task))


def test_a_store_is_written_once(run, capsys):
    config, task, _ = run
    assert task.data.spec.d_in == tiny.SIZES["hidden_size"]
    stores.write_missing(config)
    assert "tokens" not in capsys.readouterr().out


def test_what_the_language_model_loses_stands_in_the_table(run):
    config, task, state = run
    sums = language.sums(config, task, state, sequences=80)
    found = language.numbers(sums, intervals=True)
    for name in ("ce", "delta_ce", "recovered_zero", "kl"):
        assert found[f"text from/{name}"] <= found[f"text/{name}"] <= found[f"text to/{name}"]
    assert "share of the loss by zeros" in report.table(found)


def test_intervals_are_over_whole_documents(run):
    _, task, state = run
    (evaluation,) = task.evaluations.values()
    store, (kept,) = task.data.stores[0], evaluation.data.kept
    edges = intervals.edges(evaluation.data)
    assert len(edges) == 33  # A fifth of 160 documents.
    seen = []
    for first, until in itertools.pairwise(edges.tolist()):
        sequence, _ = store.sequences.places(kept.rows(np.arange(first, until)))
        seen.append(set(store.sequences.documents[sequence].tolist()))
    assert all(len(documents) == 1 for documents in seen)
    assert len(set.union(*seen)) == 32
    evaluator = evaluation_loop.Evaluator(task.method, task.mesh)
    found = intervals.results(evaluator, task, state)
    whole = loop.finish(task, evaluator.all_totals(task.evaluations, state))
    for metric, value in whole.items():
        assert found[metric] == pytest.approx(value, rel=1e-5)
    assert found["test from/fvu"] < found["test/fvu"] < found["test to/fvu"]


def test_intervals_of_a_stream_are_over_whole_documents(recipe, monkeypatch):
    monkeypatch.setattr(build, "recipe", lambda path: recipe)
    build.reading.cache_clear()
    config = llm_topk.get_config("stream_debug")
    data = build.data({**config.data.to_dict(), "split": "test"})
    edges = intervals.edges(data)
    assert len(edges) == 33
    lengths = data.sequences.lengths - 1  # The first token of a sequence is no example.
    documents = np.repeat(data.sequences.documents, lengths)
    assert edges[-1] == len(documents) == data.length
    for first, until in itertools.pairwise(edges.tolist()):
        assert len(set(documents[first:until].tolist())) == 1
    build.reading.cache_clear()


def test_a_crosscoder_is_spliced_at_all_its_sites(recipe, monkeypatch, tmp_path):
    both = recipe.copy_and_resolve_references()
    both.sites = ("resid_post.1", "resid_post.2")
    monkeypatch.setattr(build, "recipe", lambda path: both)
    config = llm_topk.get_config("crosscoder")
    config.data.store = (str(tmp_path / "store"),)
    config.model.d_sae = 32
    config.model.activation.k = 4.0
    stores.write_missing(config)
    task = build.task(config)
    state = loop.initialise(task, loop.template(task))
    found = language.numbers(language.sums(config, task, state, sequences=20))
    assert found["text/ce_zero"] != found["text/ce"] != found["text/ce_spliced"]


def test_a_store_of_another_model_is_refused(run, recipe, tmp_path):
    config, task, state = run
    tiny.write(tmp_path, tensors=tiny.weights(seed=1))
    before = recipe.lm.path
    recipe.lm.path = str(tmp_path)
    with pytest.raises(errors.UserError, match="was written by a .* of weights"):
        language.sums(config, task, state, sequences=4)
    recipe.lm.path = before


def test_latents_are_probed_beside_activations_and_chance(run):
    config, task, state = run
    found = topics.results(config, task, state, documents=90)
    assert found["topics/classes"] == 2
    for name in ("topics", "topics: activations", "topics: random"):
        assert 0.4 <= found[f"{name}/probe_5"] <= 1
    assert found["topics: activations/probe_all"] > 0.9
    assert "topics/probe_all" not in found
    assert found["topics: activations/probe_5"] > 0.9  # The classes have no letter in common.


def test_words_are_probed_where_the_language_model_reads_them(run, monkeypatch):
    config, task, state = run
    letters = {"a": "nn", "b": "vb", "c": "jj"}
    draw = np.random.RandomState(0)
    found = [
        brown.document(" ".join(f"{word}/{letters[word]}" for word in draw.choice([*"abc"], 60)))
        for _ in range(16)
    ]
    texts = text.Texts(
        "letters", [written for written, _ in found], words=[words for _, words in found]
    )
    monkeypatch.setattr(build, "texts", lambda group: texts)
    numbers = words.results(config, task, state, documents=16)
    assert numbers["words/classes"] == 3
    assert numbers["words: activations/probe_5"] > 0.9  # The token itself is the class.
    assert 0.4 <= numbers["words/probe_1"] <= 1
    assert "guessing 0.5" in report.table(numbers)


def _trained(config, folder, stop=lambda: False):
    task = build.task(config)
    like = loop.template(task)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
    state = checkpoints.restore(like)
    state = loop.initialise(task, like) if state is None else state
    try:
        state, _ = loop.train(task, state, checkpoints, writer.Silent(), stop=stop)
    finally:
        checkpoints.close()
    return task, state


def test_a_stream_that_was_stopped_goes_on_to_the_same_bits(recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "recipe", lambda path: recipe)
    build.reading.cache_clear()
    config = llm_topk.get_config("stream_debug")
    config.update(num_steps=23, batch_size=16, log_every=5, checkpoint_every=0)
    config.data.buffer = 100  # Windows of six steps.
    config.model.d_sae = 32
    config.model.activation.k = 4
    task, whole = _trained(config, tmp_path / "whole")
    asked = iter([False, False, True])
    with pytest.raises(loop.Preempted):
        _trained(config, tmp_path / "cut", lambda: next(asked))
    _, state = _trained(config, tmp_path / "cut")
    jax.tree.map(np.testing.assert_array_equal, whole.params, state.params)
    found = language.numbers(language.sums(config, task, state, sequences=10))
    assert found["text/ce_zero"] > found["text/ce"]
    build.reading.cache_clear()


def test_a_run_on_something_else_is_not_spliced_and_not_probed(run):
    config, task, state = run
    config = config.copy_and_resolve_references()
    config.data.recipe = ""
    assert language.sums(config, task, state, 4) is None
    with pytest.raises(errors.UserError, match="--topics needs a run on activations"):
        topics.results(config, task, state, 4)
    with pytest.raises(errors.UserError, match="--words needs a run on activations"):
        words.results(config, dataclasses.replace(task, data=None), state, 4)
