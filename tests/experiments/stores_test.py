"""Arrays of another program become a store that a run is trained on."""

import numpy as np

from sae_jax.store import reader

DUMP = ("experiments.dump", "--config=configs/dumps/arrays.py")


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
