import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
import numpy as np
import pytest

from sae_jax import errors, mesh
from sae_jax.activations import relu
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step

DEVICES = 4  # See conftest.py.


def test_the_tests_have_four_devices():
    assert jax.device_count() == DEVICES


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (4, 1)),
        (dict(dictionary=2), (2, 2)),
        (dict(dictionary=4), (1, 4)),
        (dict(data=4), (4, 1)),
        (dict(data=2, dictionary=2), (2, 2)),
        (dict(data=-1, dictionary=4), (1, 4)),
    ],
)
def test_a_mesh_takes_all_devices(arguments, shape):
    found = mesh.make(**arguments)
    assert dict(found.shape) == {"data": shape[0], "dictionary": shape[1]}
    assert found.axis_types == (AxisType.Auto, AxisType.Auto)
    assert sorted(device.id for device in found.devices.flat) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dictionary=3), "mesh.dictionary=3 does not divide the 4 devices"),
        (dict(dictionary=8), "mesh.dictionary=8 does not divide the 4 devices"),
        (dict(dictionary=0), "mesh.dictionary=0 does not divide"),
        (dict(dictionary=-1), "mesh.dictionary=-1 does not divide"),
        (dict(data=2), "mesh.data=2 x mesh.dictionary=1 is not the number of devices, 4"),
        (dict(data=0), "mesh.data=0 x"),
        (dict(data=-2), "mesh.data=-2 x"),
        (dict(data=4, dictionary=2), "mesh.data=4 x mesh.dictionary=2 is not"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(arguments, message):
    with pytest.raises(errors.UserError, match=message):
        mesh.make(**arguments)


def test_batches_are_split_along_data():
    grid = mesh.make(dictionary=2)
    assert mesh.replicated(grid).spec == PartitionSpec()
    assert mesh.split_batch(grid).spec == PartitionSpec("data")
    assert mesh.split_batch(grid, axis=1).spec == PartitionSpec(None, "data")


def _state(d_sae):
    method = step.Method(
        model=sae.Model(8, d_sae, relu.Activation()),
        terms={},
        optimizer=optimizers.adam(lambda step: 0.1),
        project=lambda params: params,
        learning_rate=0.1,
        normaliser=normalise.Unchanged(),
        dead_after=1,
    )
    return jax.eval_shape(lambda: step.init(method, 0, {}, jnp.zeros((2, 8))))


def test_parameters_and_their_moments_lie_alike():
    grid = mesh.make(dictionary=4)
    found = mesh.shardings(grid, _state(32), {**sae.LATENT_AXES, "idle": 0})
    expected = {
        "w_enc": PartitionSpec(None, "dictionary"),
        "b_enc": PartitionSpec("dictionary"),
        "w_dec": PartitionSpec("dictionary"),
        "b_dec": PartitionSpec(),
    }
    (adam,) = [
        part
        for part in jax.tree.leaves(found.opt_state, is_leaf=lambda part: hasattr(part, "mu"))
        if hasattr(part, "mu")
    ]
    for tree in (found.params, adam.mu, adam.nu):
        assert {name: sharding.spec for name, sharding in tree.items()} == expected
    assert found.idle.spec == PartitionSpec("dictionary")
    for whole in (found.step, found.key, adam.count):
        assert whole.spec == PartitionSpec()


def test_each_device_holds_its_part():
    grid = mesh.make(dictionary=2)
    where = mesh.shardings(grid, {"w_dec": np.zeros((6, 3))}, {"w_dec": 0})["w_dec"]
    placed = jax.device_put(np.arange(18.0).reshape(6, 3), where)
    assert {shard.data.shape for shard in placed.addressable_shards} == {(3, 3)}


def test_latents_that_cannot_be_split_are_refused():
    with pytest.raises(errors.UserError, match="30 latents cannot be split over mesh.dictionary=4"):
        mesh.shardings(mesh.make(dictionary=4), _state(30), sae.LATENT_AXES)
    mesh.shardings(mesh.make(dictionary=2), _state(30), sae.LATENT_AXES)
