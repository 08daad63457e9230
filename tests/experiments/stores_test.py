"""Arrays of another program become a store that a run is trained on, or several do."""

import json

import numpy as np
import pytest

from configs import llm_topk
from experiments import build, stores
from sae_jax import errors
from sae_jax.data import activations
from sae_jax.store import arrays, reader, writer
from tests.lm import tiny

DUMP = ("experiments.dump", "--config=configs/dumps/arrays.py")
GLASS = "--config=configs/dumps/glassllm.py:debug"
TRAIN = ("experiments.main", "--config=configs/llm_topk.py:debug", "--config.model.d_sae=32")


def test_arrays_become_a_store_to_train_on(program, tmp_path):
    x = np.random.RandomState(0).standard_normal((3, 200, 16))
    for number, part in enumerate(x):
        np.save(tmp_path / f"{number}.npy", part)
    store = tmp_path / "store"
    flags = (f'--config.files=("{tmp_path}/*.npy",)', '--config.sites=("mine",)')
    written = program(*DUMP, *flags, f"--config.store={store}", "--config.dtype=float32")
    assert written.returncode == 0, written.stderr
    assert "600 rows (train 540, valid 30, test 30)" in written.stdout
    kept = reader.Store(store).read("mine", np.arange(600))[""]
    np.testing.assert_array_equal(kept, x.reshape(600, 16).astype(np.float32))
    trained = program(
        *("experiments.main", "--config=configs/llm_topk.py:debug", f"--workdir={tmp_path}/run"),
        *(f"--config.data.store={store}", "--config.data.site=mine", "--config.model.d_sae=32"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "fvu" in trained.stdout
    assert "ce_spliced" not in trained.stdout


def test_a_store_may_lie_at_home(program, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((40, 4)))
    result = program(
        *(*DUMP, f'--config.files=("{tmp_path}/x.npy",)', "--store=~/store", "--dry_run"),
        HOME=str(tmp_path),
    )
    assert result.stdout.strip().endswith(f"to {tmp_path}/store"), result.stderr


def test_a_mistake_is_one_line(program, tmp_path):
    for flags, said in (
        ((), "--config.files has a pattern for each of --config.sites"),
        ((f'--config.files=("{tmp_path}/*.npy",)',), f"there is no file {tmp_path}/*.npy"),
    ):
        result = program(*DUMP, *flags, f"--config.store={tmp_path}/store")
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--config=configs/dumps/nope.py",), ("nope.py: there is no such file", "glassllm.py")),
        ((), ("what should be written?", "glassllm.py")),
        (("--config=configs/llm_topk.py",), ("llm_topk.py is no dump",)),
        ((GLASS, "--config.batch_size=0"), ("config.batch_size=0: it must be 1 or more",)),
        ((GLASS, "--config.outlier=-3.0"), ("config.outlier=-3.0: it must be 0 or more",)),
        ((GLASS, "--config.documents=-1"), ("config.documents=-1: it must be 0 or more",)),
    ],
)
def test_a_dump_that_cannot_be_is_one_line(program, tmp_path, flags, said):
    result = program("experiments.dump", *flags, f"--store={tmp_path}/store")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr


def test_a_recipe_without_that_variant_is_one_line(program, tmp_path):
    recipe = "--config.data.recipe=configs/dumps/glassllm.py:dbg"
    result = program(
        *TRAIN, recipe, f"--config.data.store={tmp_path}/store", f"--workdir={tmp_path}/run"
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: config.data.recipe=configs/dumps/glassllm.py:dbg: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"data": {}, "model": {}}', "is no dump, as it lacks store, sites, "),
        ("[1, 2]", "recipe.json: "),
        ('{"store": "a", "sites": ["x"]', "recipe.json: "),
    ],
)
def test_what_is_no_recipe_is_one_line(tmp_path, content, said):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(errors.UserError, match=said) as raised:
        build.recipe(str(tmp_path / "recipe.json"))
    assert "\n" not in str(raised.value)


def test_a_recipe_of_arrays_names_no_language_model():
    with pytest.raises(errors.UserError, match="arrays.py is of arrays and names no language mod"):
        build.reader_recipe("configs/dumps/arrays.py")


def test_a_recipe_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = build.plain(build.recipe("configs/dumps/glassllm.py:debug"))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert build.plain(build.recipe("~/recipe.json"))["store"] == recipe["store"]


def test_where_a_store_of_a_kept_recipe_is_missing_it_is_said_what_writes_it(tmp_path):
    with pytest.raises(errors.DataError, match="experiments.main with --config.data.recipe=r.json"):
        activations.load("train", str(tmp_path / "store"), recipe="r.json")


def _store(folder, rows, seed=0):
    """Writes a store of random rows, the site of which is "mine"."""
    x = np.random.RandomState(seed).standard_normal((rows, 16)).astype(np.float32)
    folder.mkdir()
    np.save(folder / "x.npy", x)
    found = [arrays.find(str(folder / "x.npy"), "mine")]
    arrays.write(found, writer.Writer(folder / "store", arrays.plan(found)))
    return folder / "store"


def test_several_stores_are_mixed(program, tmp_path):
    both = (_store(tmp_path / "a", 600), _store(tmp_path / "b", 200, seed=1))
    flags = (f"--config.data.store={tuple(map(str, both))}", "--config.data.site=mine")
    trained = program(*TRAIN, *flags, f"--workdir={tmp_path}/run")
    assert trained.returncode == 0, trained.stderr
    assert "store + store" in trained.stdout


def test_weights_may_favour_a_small_store(program, tmp_path):
    both = (_store(tmp_path / "a", 600), _store(tmp_path / "b", 100, seed=1))
    trained = program(
        *(*TRAIN, f"--config.data.store={tuple(map(str, both))}", "--config.data.site=mine"),
        *("--config.data.weights=(1, 9)", f"--workdir={tmp_path}/run"),
    )
    assert trained.returncode == 0, trained.stderr


def test_a_store_that_no_batch_would_see_is_refused(program, tmp_path):
    both = (_store(tmp_path / "a", 600), _store(tmp_path / "b", 100, seed=1))
    result = program(
        *(*TRAIN, f"--config.data.store={tuple(map(str, both))}", "--config.data.site=mine"),
        *("--config.data.weights=(1000, 1)", f"--workdir={tmp_path}/run"),
    )
    assert result.returncode == 2
    assert f"{both[1]} would never be seen, as 0.001 of config.batch_size=64" in result.stderr
    assert result.stderr.count("\n") == 1


def test_blocks_that_do_not_fill_a_batch_are_refused(program, tmp_path):
    store = _store(tmp_path / "a", 3000)
    for block in (24, 128):
        result = program(
            *(*TRAIN, f"--config.data.store={store}", "--config.data.site=mine"),
            *(f"--config.data.block={block}", f"--workdir={tmp_path}/run"),
        )
        assert result.returncode == 2
        assert f"config.data.block={block} does not divide config.batch_size=64" in result.stderr
        assert result.stderr.count("\n") == 1


def test_of_several_stores_that_is_named_which_the_recipe_does_not_write(program, tmp_path):
    store, other = _store(tmp_path / "a", 200), tmp_path / "b"
    flags = (f"--config.data.store={(str(store), str(other))}", "--config.data.site=mine")
    result = program(*TRAIN, *flags, f"--workdir={tmp_path}/run")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {other} is not there")
    assert f"--store={other}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not other.exists()


def test_a_model_and_texts_of_ones_own_are_named_by_flags(program, tmp_path):
    pytest.importorskip("tokenizers")
    tiny.write(tmp_path / "model")
    for number in range(60):
        words = "".join(np.random.RandomState(number).choice([*"abcde "], 40))
        (tmp_path / f"{number}.txt").write_text(words)
    store = tmp_path / "store"
    written = program(
        *("experiments.dump", "--config=configs/dumps/folder.py", f"--store={store}"),
        *(f"--config.lm.path={tmp_path}/model", f"--config.text.path={tmp_path}"),
        *('--config.sites=("resid_post.1",)', "--config.length=16", "--config.held_out=0.2"),
    )
    assert written.returncode == 0, written.stderr
    train = (*TRAIN, f"--config.data.store={store}", "--config.data.site=resid_post.1")
    other = program(*train, f"--workdir={tmp_path}/run")
    assert other.returncode == 2
    assert f"set --config.data.recipe={store}/recipe.json" in other.stderr
    recipe = f"--config.data.recipe={store}/recipe.json"
    trained = program(*train, recipe, f"--workdir={tmp_path}/run")
    assert trained.returncode == 0, trained.stderr
    assert "ce_spliced" in trained.stdout


def test_a_store_is_known_by_the_weights_that_wrote_it_and_not_by_their_path(tmp_path):
    pytest.importorskip("tokenizers")
    tiny.write(tmp_path / "model")
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("abcde " * (3 + number % 4))
    dump = build.recipe("configs/dumps/folder.py")
    dump.lm.path = str(tmp_path / "model")
    dump.update(sites=("resid_post.1",), length=16, held_out=0.2)
    dump.text.path = str(tmp_path)
    stores.write(dump, tmp_path / "store")
    recipe = tmp_path / "recipe.json"

    def begin(path):
        dump.lm.path = str(path)
        recipe.write_text(json.dumps(build.plain(dump)))
        config = llm_topk.get_config("debug")
        config.data.update(store=(str(tmp_path / "store"),), recipe=str(recipe))
        stores.write_missing(config)

    (tmp_path / "model").rename(tmp_path / "moved")
    begin(tmp_path / "moved")
    tiny.write(tmp_path / "other", tensors=tiny.weights(seed=1))
    with pytest.raises(errors.UserError, match="another language model than that of .*recipe.json"):
        begin(tmp_path / "other")


def test_which_of_several_sites_is_asked_before_they_are_written(tmp_path):
    config = llm_topk.get_config("debug")
    config.data.store = (str(tmp_path / "store"),)
    with config.unlocked():
        del config.data.site
    with pytest.raises(errors.UserError, match="config.data.site is not set, and .*: name one"):
        stores.write_missing(config)
    assert not (tmp_path / "store").exists()


def test_a_store_that_would_not_have_the_site_is_not_written(tmp_path):
    config = llm_topk.get_config("debug")
    config.data.update(store=(str(tmp_path / "stroe"),), site="resid_post.6")
    with pytest.raises(errors.UserError, match=r'"resid_post.6" from, .* resid_post.1, resid_po'):
        stores.write_missing(config)
    assert not (tmp_path / "stroe").exists()
