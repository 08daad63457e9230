"""Metrics over a whole split: float32 sums of a batch on the devices, float64 totals on a host."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from sae_jax import mesh as meshes, types
from sae_jax.data import base
from sae_jax.train import feed, step

Totals = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured on which data.

    Attributes:
      data: the split.
      metrics: modules of `sae_jax.metrics`, by name.
      batch_size: rows at once; no number depends on it.
    """

    data: base.Arrays
    metrics: Mapping[str, ModuleType]
    batch_size: int


class Evaluator:
    """Runs evaluations of one method; compiles once for each shape of batch."""

    def __init__(self, method: step.Method, mesh: Mesh) -> None:
        """Compiles nothing yet."""
        self._method, self._mesh = method, mesh
        self._programs: dict[str, Callable[..., Any]] = {}

    def totals(self, name: str, evaluation: Evaluation, state: step.State) -> Totals:
        """Returns the sums of every metric over the split, float64."""
        if name not in self._programs:
            self._programs[name] = self._program(evaluation)
        split = meshes.split_batch(self._mesh)
        totals: Totals | None = None
        reference = _first_mean(evaluation)
        for index, mask in base.batches(evaluation.data.length, evaluation.batch_size):
            raw = evaluation.data.rows(index)
            placed = {key: feed.put(array, split) for key, array in raw.items()}
            sums = self._programs[name](state, placed, feed.put(mask, split), reference)
            sums = jax.tree.map(lambda total: np.asarray(total, np.float64), sums)
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
        assert totals is not None
        return totals

    def outputs(self, state: step.State, batch: types.Batch) -> types.Output:
        """Returns the output for a batch, in the scale of the data, as NumPy arrays."""
        whole = meshes.replicated(self._mesh)
        batch = jax.tree.map(lambda array: feed.put(np.asarray(array), whole), batch)
        reconstruct = functools.partial(step.reconstruct, self._method)
        return jax.device_get(jax.jit(reconstruct, out_shardings=whole)(state, batch))

    def gathered(self, tree: Any) -> Any:
        """Returns arrays, wherever their parts lie, whole and as NumPy arrays."""
        whole = meshes.replicated(self._mesh)
        return jax.device_get(jax.jit(lambda tree: tree, out_shardings=whole)(tree))

    def _program(self, evaluation: Evaluation) -> Callable[..., Any]:
        def sums(state: step.State, raw: Any, mask: jax.Array, reference: jax.Array) -> Any:
            batch = dataclasses.replace(evaluation.data.decode(raw), mask=mask)
            output = step.reconstruct(self._method, state, batch)
            return {
                name: metric.sums(batch, output, reference)
                for name, metric in evaluation.metrics.items()
            }

        return jax.jit(sums, out_shardings=meshes.replicated(self._mesh))


def finish(evaluation: Evaluation, totals: Totals) -> dict[str, float]:
    """Returns the numbers of every metric, by name."""
    numbers: dict[str, float] = {}
    for name, metric in evaluation.metrics.items():
        numbers |= metric.finish(totals[name])
    return numbers


def _first_mean(evaluation: Evaluation) -> np.ndarray:
    """Returns the mean target of the first batch, a point near the mean of the split."""
    batch = base.first(evaluation.data, evaluation.batch_size)
    return np.asarray(batch.target.mean(axis=0))
