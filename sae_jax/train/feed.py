"""Brings batches to the devices: a whole data set that fits, or a window of it at a time."""

from concurrent import futures
from typing import Any

import jax
from jax.sharding import Mesh, Sharding
import numpy as np

from sae_jax import mesh as meshes, types
from sae_jax.data import base, stream

PyTree = Any


def put(array: np.ndarray, sharding: Sharding) -> jax.Array:
    """Returns a global array; each process must hold the same `array`, and places its own part."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


class Resident:
    """Feeds a data set that lies on every device: a batch is gathered inside the training program.

    Attributes:
      window: steps that one payload serves; None for any number.
    """

    window: int | None = None

    def __init__(
        self, data: base.Dataset, mesh: Mesh, batch_size: int, seed: int, split: bool = True
    ) -> None:
        """Puts the whole data set on every device."""
        self._data, self._mesh, self._split = data, mesh, split
        self._batch_size, self._seed = batch_size, seed
        whole = meshes.replicated(mesh)
        self._source = {name: put(array, whole) for name, array in data.source.items()}

    def payload(self, first: int, until: int, following: int) -> PyTree:
        """Returns what the program needs for the steps `first .. until - 1`."""
        del first, until, following
        return self._source

    def batch(self, payload: PyTree, first: jax.Array, step: jax.Array) -> types.Batch:
        """Returns the batch of one step; runs inside the program."""
        del first
        index = self._data.order(self._seed, step, self._batch_size)
        if self._split:
            index = _split(index, self._mesh)
        return self._data.at(payload, index)

    def close(self) -> None:
        """Does nothing: nothing runs beside the program."""


class Streamed:
    """Feeds a data set that stays on the host: batches are read while the device computes.

    Each process reads the rows that its own devices hold.

    Attributes:
      window: steps that one payload serves.
    """

    def __init__(
        self,
        data: base.Dataset,
        mesh: Mesh,
        batch_size: int,
        seed: int,
        longest: int,
        window_bytes: int = 2**28,
        split: bool = True,
    ) -> None:
        """Reads nothing yet. `longest`: most steps of a dispatch; `window_bytes`: of a payload."""
        self._data = data
        self._where = meshes.split_batch(mesh, axis=1) if split else meshes.replicated(mesh)
        self._batch_size, self._seed = batch_size, seed
        self._mine = _own(self._where, batch_size)
        self._row = data.rows(np.zeros(1, np.int32))
        row_bytes = sum(array.nbytes for array in self._row.values())
        self.window = max(1, min(longest, window_bytes // (batch_size * row_bytes)))
        self._reader = futures.ThreadPoolExecutor(max_workers=1)
        self._ahead: tuple[tuple[int, int], futures.Future] | None = None

    def payload(self, first: int, until: int, following: int) -> PyTree:
        """Returns the raw batches of the steps `first .. until - 1`, `[window, batch, ...]` each.

        Starts to read those of `until .. following - 1`. All payloads have the same shape, the rest
        of a short one is zeros, so that there is one program for all.
        """
        if self._ahead is None or self._ahead[0] != (first, until):
            self._ahead = ((first, until), self._reader.submit(self._read, first, until))
        raw = self._ahead[1].result()
        self._ahead = None
        if following > until:
            self._ahead = ((until, following), self._reader.submit(self._read, until, following))
        return {name: self._put(array) for name, array in raw.items()}

    def batch(self, payload: PyTree, first: jax.Array, step: jax.Array) -> types.Batch:
        """Returns the batch of one step; runs inside the program."""
        return self._data.decode({name: array[step - first] for name, array in payload.items()})

    def close(self) -> None:
        """Stops reading ahead."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _read(self, first: int, until: int) -> dict[str, np.ndarray]:
        """Returns `[window, rows of this process, ...]` for each raw array."""
        shape = (self.window, len(range(*self._mine.indices(self._batch_size))))
        window = {
            name: np.zeros((*shape, *array.shape[1:]), array.dtype)
            for name, array in self._row.items()
        }
        for place, step in enumerate(range(first, until)):
            order = self._data.order(self._seed, np.asarray(step), self._batch_size)
            for name, rows in self._data.rows(order[self._mine]).items():
                window[name][place] = rows
        return window

    def _put(self, array: np.ndarray) -> jax.Array:
        """Returns the global array of which this process has read its part."""
        shape = (len(array), self._batch_size, *array.shape[2:])

        def part(index: Any) -> np.ndarray:
            first, until, _ = index[1].indices(self._batch_size)
            return array[:, first - self._mine.start : until - self._mine.start]

        return jax.make_array_from_callback(shape, self._where, part)


class Refilled:
    """Feeds activations that a language model makes: a window of them at a time, on every device.

    Attributes:
      window: steps that one window serves.
    """

    def __init__(
        self, data: stream.Stream, mesh: Mesh, batch_size: int, seed: int, split: bool = True
    ) -> None:
        """Makes nothing yet."""
        self._data, self._mesh, self._split = data.put(mesh), mesh, split
        self._batch_size, self._seed = batch_size, seed
        self._size = data.window(batch_size)
        self.window = self._size // batch_size
        self._number = -1
        self._rows: PyTree = None

    def payload(self, first: int, until: int, following: int) -> PyTree:
        """Returns the window that the steps `first .. until - 1` lie in."""
        del until, following
        if first // self.window != self._number:
            self._number, self._rows = first // self.window, None  # Room for one window is enough.
            self._rows = self._data.filled(self._seed, self._number, self._batch_size, self._mesh)
        return self._rows

    def like(self) -> PyTree:
        """Returns shapes, types and shardings of a payload."""
        return self._data.like(self._batch_size, self._mesh)

    def batch(self, payload: PyTree, first: jax.Array, step: jax.Array) -> types.Batch:
        """Returns the batch of one step; runs inside the program."""
        del first
        index = base.order(self._seed, step, self._batch_size, self._size)
        if self._split:
            index = _split(index, self._mesh)
        return self._data.decode({site: rows[index] for site, rows in payload.items()})

    def close(self) -> None:
        """Lets the window go."""
        self._rows = None


Feed = Resident | Streamed | Refilled


def make(
    data: base.Dataset, mesh: Mesh, batch_size: int, seed: int, longest: int, split: bool = True
) -> Feed:
    """Returns the feed that suits the data.

    Args:
      data: what is fed.
      mesh: of the devices.
      batch_size: over all devices.
      seed: of the order.
      longest: steps that a dispatch has at the most.
      split: whether the devices share a batch; or else each sees the whole of it.
    """
    if isinstance(data, stream.Stream):
        return Refilled(data, mesh, batch_size, seed, split)
    if data.resident:
        return Resident(data, mesh, batch_size, seed, split)
    return Streamed(data, mesh, batch_size, seed, longest, split=split)


def _own(where: Sharding, batch_size: int) -> slice:
    """Returns the rows of a batch that this process's devices hold, and those between them."""
    parts = where.addressable_devices_indices_map((1, batch_size)).values()
    ends = [part[1].indices(batch_size) for part in parts if part is not None]
    return slice(min(first for first, *_ in ends), max(until for _, until, _ in ends))


def _split(index: jax.Array, mesh: Mesh) -> jax.Array:
    """Returns which examples a batch is of, on each device those of its own part.

    Every device draws all of them: the loop that draws ends with the last, and devices that drew
    only their own would ask each other at each turn whether all are done.
    """
    index = jax.lax.with_sharding_constraint(index, meshes.replicated(mesh))
    return jax.lax.with_sharding_constraint(index, meshes.split_batch(mesh))
