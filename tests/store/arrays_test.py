import pickle

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as safetensors

from sae_jax import errors
from sae_jax.store import arrays, reader, writer

X = np.random.RandomState(0).standard_normal((40, 6)).astype(np.float32)


def _npy(folder):
    np.save(folder / "b.npy", X[24:])
    np.save(folder / "a.npy", X[:24])
    return "*.npy"


def _of_sequences(folder):
    np.save(folder / "a.npy", X.reshape(8, 5, 6))
    return "a.npy"


def _npz(folder):
    np.savez_compressed(folder / "a.npz", resid=X, other=X[:, :2])
    return "a.npz:resid"


def _safetensors(folder):
    (folder / "a.safetensors").write_bytes(safetensors.save({"x": X[:30]}))
    (folder / "b.safetensors").write_bytes(safetensors.save({"x": X[30:]}))
    return "*.safetensors"


def _hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        file["layer/resid"] = X.reshape(4, 10, 6)
        file["layer/other"] = X[:, :1]
    return "a.h5:layer/resid"


@pytest.mark.parametrize("write", [_npy, _of_sequences, _npz, _safetensors, _hdf5])
def test_a_store_has_the_rows_of_files_in_order(write, tmp_path):
    found = [arrays.find(f"{tmp_path}/{write(tmp_path)}", "x")]
    plan = arrays.plan(found, "float32", held_out=0.1, shard_bytes=300)
    assert {split: sum(rows) for split, rows in plan.splits.items()} == {
        **{"train": 32, "valid": 4, "test": 4}
    }
    assert len(plan.shards) > 3
    assert arrays.write(found, writer.Writer(tmp_path / "store", plan))
    store = reader.Store(tmp_path / "store")
    np.testing.assert_array_equal(store.read("x", np.arange(40))[""], X)
    valid = reader.Kept(store, "valid")
    np.testing.assert_array_equal(store.read("x", valid.rows(np.arange(4)))[""], X[32:36])


def test_rows_of_several_processes_make_the_same_store(tmp_path):
    np.save(tmp_path / "a.npy", X)
    found = [arrays.find(str(tmp_path / "a.npy"), "x")]
    plan = arrays.plan(found, held_out=0.1, shard_bytes=100)
    for process in (1, 0):
        whole = arrays.write(found, writer.Writer(tmp_path / "store", plan), process, 2)
    assert whole
    kept = reader.Store(tmp_path / "store").read("x", np.arange(40))[""]
    np.testing.assert_array_equal(kept, X.astype(ml_dtypes.bfloat16))


def test_other_rows_are_another_plan(tmp_path):
    np.save(tmp_path / "a.npy", X)
    plan = arrays.plan([arrays.find(str(tmp_path / "a.npy"), "x")])
    writer.Writer(tmp_path / "store", plan)
    np.save(tmp_path / "a.npy", X + 1)
    other = arrays.plan([arrays.find(str(tmp_path / "a.npy"), "x")])
    with pytest.raises(errors.UserError, match="another source"):
        writer.Writer(tmp_path / "store", other)


@pytest.mark.parametrize(
    ("shape", "said"), [((20, 6), "row 3 of .*b.npy"), ((4, 5, 6), r"row \[0, 3\] of .*b.npy")]
)
def test_a_row_that_is_not_finite_is_named_with_its_file(tmp_path, shape, said):
    x = X.copy()
    x[23, 2] = np.nan
    np.save(tmp_path / "a.npy", x[:20].reshape(shape))
    np.save(tmp_path / "b.npy", x[20:].reshape(shape))
    found = [arrays.find(f"{tmp_path}/*.npy", "x")]
    plan = arrays.plan(found, held_out=0.1, shard_bytes=100)
    with pytest.raises(errors.DataError, match=f"{said} is not finite: repair it"):
        arrays.write(found, writer.Writer(tmp_path / "store", plan))


def test_mistakes_are_named(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([X, X[:3]], object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([X, X[:3]], object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "wide.npy", X[:, :3])
    np.save(tmp_path / "ids.npy", np.arange(12).reshape(3, 4))
    np.savez(tmp_path / "two.npz", one=X, two=X)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:300])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:300])
    (tmp_path / "a.txt").write_text("no")
    mistakes = {
        "nowhere*.npy": "there is no file",
        "two.npz": "has one, two: name one",
        "two.npz:three": "has one, two: name one",
        "ids.npy": "real numbers",
        "[aw]*.npy": "has rows of 3",
        "cut.npy": "cut off or damaged",
        "cut.npz": "cut off or damaged",
        "objects.npy": "holds Python objects, which are not read, as they could run code: save",
        "objects.npz": "holds Python objects",
        "pickle.npy": "holds Python objects",
        "a.txt": ".npy, .npz, .safetensors",
    }
    for pattern, said in mistakes.items():
        with pytest.raises(errors.DataError, match=said.replace(".", r"\.")):
            arrays.find(f"{tmp_path}/{pattern}", "x")
    whole, part = (arrays.Rows(name, ("a",), (x,)) for name, x in (("x", X), ("y", X[:5])))
    with pytest.raises(errors.UserError, match="the same tokens"):
        arrays.plan([whole, part])
    with pytest.raises(errors.UserError, match="cannot be held out"):
        arrays.plan([part], held_out=0.01)
