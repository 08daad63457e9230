"""The mesh of devices, and where each array lies on it.

One program runs over all devices of all hosts: `jax.jit` over a mesh with the axes `data`, along
which batches are split, and `dictionary`, along which latents are. The program sees the global
batch, so the number of devices changes no result beyond rounding. Where XLA would divide badly,
`sae_jax/ops/sharded.py` says what each device does.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sae_jax import errors

PyTree = Any


def make(data: int = -1, dictionary: int = 1) -> Mesh:
    """Returns a mesh over all devices of all hosts; -1 takes what the other axis leaves."""
    devices = jax.device_count()
    if dictionary < 1 or devices % dictionary:
        raise errors.UserError(
            f"mesh.dictionary={dictionary} does not divide the {devices} devices: set a divisor"
        )
    if data == -1:
        data = devices // dictionary
    if data * dictionary != devices:
        raise errors.UserError(
            f"mesh.data={data} x mesh.dictionary={dictionary} is not the number of devices, "
            f"{devices}: set mesh.data=-1"
        )
    return _of(jax.devices(), data, dictionary)


def first(count: int) -> Mesh:
    """Returns a mesh over the first so many devices, all along `data`."""
    return _of(jax.devices()[:count], count, 1)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Returns the sharding of what is split along `data` at `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def shardings(mesh: Mesh, tree: PyTree, latent_axes: Mapping[str, int]) -> PyTree:
    """Returns the sharding of each array of a state.

    Args:
      mesh: where the state shall lie.
      tree: arrays or shapes; a leaf is recognised by the last name on its path, so an optimiser's
        moments lie as the parameters do.
      latent_axes: for each such name the axis that counts latents, which is split along
        `dictionary`. What is not named is replicated.
    """

    def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        axis = latent_axes.get(_last_name(path))
        if axis is None or leaf.ndim <= axis:
            return replicated(mesh)
        shards = mesh.shape["dictionary"]
        if leaf.shape[axis] % shards and any(_named(entry) == "opt_state" for entry in path):
            return replicated(mesh)  # A moment in another shape: a scale, or a sum of squares.
        if leaf.shape[axis] % shards:
            raise errors.UserError(
                f"{leaf.shape[axis]} latents cannot be split over mesh.dictionary={shards}: "
                "choose a d_sae that it divides"
            )
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "dictionary"))

    return jax.tree_util.tree_map_with_path(of, tree)


def over(mesh: Mesh, function: Callable) -> Callable:
    """Returns `function` as a program over a mesh is made of it: `jax.jit(over(mesh, function))`.

    While it is traced, operations that XLA would divide badly know of the mesh and divide
    themselves (`sae_jax/ops/sharded.py`). Some argument or result has to lie on the mesh.
    """
    if mesh.size == 1:
        return function

    @functools.wraps(function)
    def traced(*args: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args)

    return traced


def _of(devices: Sequence[jax.Device], data: int, dictionary: int) -> Mesh:
    # Auto: jax.make_mesh makes Explicit axes by default, which refuse the scatters of top-k.
    return jax.make_mesh(
        (data, dictionary),
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=devices,
    )


def _last_name(path: tuple[Any, ...]) -> str:
    """Returns the last dict key or attribute on a path; "" if there is none."""
    names = (_named(entry) for entry in reversed(path))
    return next((name for name in names if isinstance(name, str)), "")


def _named(entry: Any) -> Any:
    return getattr(entry, "key", getattr(entry, "name", None))
