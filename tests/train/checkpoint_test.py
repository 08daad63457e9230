import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.train import checkpoint


def _like(state):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )


@pytest.fixture
def state():
    return {
        "w_dec": jax.random.normal(jax.random.key(1), (8, 4)),
        "key": jax.random.key(3),
        "step": jnp.asarray(5),
    }


def _saved(folder, state, steps=(1, 2)):
    checkpoints = checkpoint.Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, {**state, "step": jnp.asarray(step)})
    checkpoints.wait()
    return checkpoints


def test_what_is_saved_is_restored_bit_for_bit(state, tmp_path):
    found = _saved(tmp_path / "checkpoints", state).restore(_like(state))
    assert int(found["step"]) == 2
    np.testing.assert_array_equal(found["w_dec"], state["w_dec"])
    assert (jax.random.key_data(found["key"]) == jax.random.key_data(state["key"])).all()


def test_nothing_saved_is_none(state, tmp_path):
    assert checkpoint.Checkpoints(tmp_path / "checkpoints").restore(_like(state)) is None


def test_numbers_that_do_not_fit_their_checksums_are_damage(state, tmp_path, monkeypatch):
    checkpoints = _saved(tmp_path / "checkpoints", state, steps=(1,))
    monkeypatch.setattr(checkpoint, "_checksums", lambda tree: [0, 0, 0])
    checkpoints.save(2, state)
    checkpoints.wait()
    monkeypatch.undo()
    found = checkpoints.restore(_like(state))
    assert int(found["step"]) == 1
    assert checkpoints.steps() == [1, 2]
    checkpoints.restore(_like(state), set_aside=True)
    assert checkpoints.steps() == [1]
    assert (tmp_path / "damaged" / "2").is_dir()


def test_a_state_of_other_shapes_is_no_damage(state, tmp_path):
    checkpoints = _saved(tmp_path / "checkpoints", state)
    other = {**state, "threshold": jnp.zeros(8)}
    with pytest.raises(errors.CheckpointError, match="threshold.* is absent, and float32"):
        checkpoints.restore(_like(other), set_aside=True)
    assert checkpoints.steps() == [1, 2]


def test_if_none_can_be_read_all_stay_where_they_are(state, tmp_path):
    checkpoints = _saved(tmp_path / "checkpoints", state)
    for file in (tmp_path / "checkpoints").rglob("*"):
        if file.is_file() and "ocdbt" in str(file):
            file.write_bytes(b"")
    with pytest.raises(errors.CheckpointError, match="no checkpoint in .* can be read"):
        checkpoints.restore(_like(state), set_aside=True)
    assert checkpoints.steps() == [1, 2]
