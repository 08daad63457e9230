"""Metrics over a whole split: float32 sums of a batch on the devices, float64 totals on a host."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from sae_jax import errors, mesh as meshes, types
from sae_jax.data import base
from sae_jax.models import base as models
from sae_jax.ops import corrupt, per_member
from sae_jax.train import feed, step

_FIRST = 4096
Totals = dict[str, dict[str, np.ndarray]]


class Metric(NamedTuple):
    """One metric, its knobs bound: what a batch adds, and what the totals mean.

    `sums` takes `(batch, output, reference)`, and, if it asks for it, `model` by keyword. What does
    not change from batch to batch, `prepare(params, data)` computes once, on the host, and `sums`
    takes it by the keyword `prepared`.
    """

    sums: Callable[..., Any]
    finish: Callable[[Any], dict[str, float]]
    prepare: Callable[[Any, base.Dataset], dict[str, Any]] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What is measured on which data; equal to itself alone, as what an evaluator keeps of it is.

    Attributes:
      data: the split.
      metrics: by name.
      batch_size: rows at once; no number depends on it.
      corruption: what is done to the examples; always the same to the same row.
    """

    data: base.Dataset
    metrics: Mapping[str, Metric]
    batch_size: int
    corruption: corrupt.Corruption = corrupt.Corruption()

    def batch(self, raw: dict[str, jax.Array], row: jax.Array) -> types.Batch:
        """Returns raw examples as a model sees them; `row`, int32 `[batch]`, fixes their noise."""
        batch = self.data.decode(raw)
        if self.corruption.of is None:
            return batch
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(0)))(row)
        return self.corruption(keys, batch)

    def first(self, count: int) -> types.Batch:
        """Returns the first examples, at most `count`, as a model sees them."""
        row = np.arange(min(count, self.data.length))
        raw = {name: jnp.asarray(array) for name, array in self.data.rows(row).items()}
        return self._program(raw, jnp.asarray(row, jnp.int32))

    @functools.cached_property
    def _program(self) -> Callable[..., types.Batch]:
        return jax.jit(self.batch)


class Evaluator:
    """Runs evaluations of one method; compiles each once for each shape of batch."""

    def __init__(self, method: step.Method, mesh: Mesh) -> None:
        """Compiles nothing yet."""
        self._method, self._mesh = method, mesh
        self._whole = meshes.replicated(mesh)
        reconstruct = meshes.over(mesh, functools.partial(step.reconstruct, method))
        self._reconstruct = per_member.jit(reconstruct, out_shardings=self._whole)
        self._gather = jax.jit(lambda tree: tree, out_shardings=self._whole)
        self._programs: dict[Evaluation, Callable[..., Any]] = {}
        self._references: dict[Evaluation, np.ndarray] = {}

    def totals(self, evaluation: Evaluation, state: step.State) -> Totals:
        """Returns the sums of every metric over the split, float64."""
        return functools.reduce(
            functools.partial(jax.tree.map, np.add), self.blocks(evaluation, state)
        )

    def blocks(
        self,
        evaluation: Evaluation,
        state: step.State,
        batches: Iterable[tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> Iterator[Totals]:
        """Yields the sums of every metric over each batch of the split, float64.

        Args:
          evaluation: what is measured.
          state: of what.
          batches: index and mask of each, as of `base.batches`, if they are to be cut otherwise.
            Sums of one evaluation, however it is cut, may be added; those of others may not.
        """
        state = step.at_rest(self._method, state)
        if evaluation not in self._programs:
            self._programs[evaluation] = self._program(evaluation)
            self._references[evaluation] = _first_mean(evaluation)
        split = meshes.split_batch(self._mesh)
        reference, prepared = self._references[evaluation], self._prepared(evaluation, state)
        if batches is None:
            batches = base.batches(evaluation.data.length, evaluation.batch_size)
        for index, mask in batches:
            raw = evaluation.data.rows(index)
            placed, row, mask = (
                jax.tree.map(functools.partial(feed.put, sharding=split), part)
                for part in (raw, index, mask)
            )
            sums = self._programs[evaluation](state, placed, row, mask, reference, prepared)
            yield jax.tree.map(lambda total: np.asarray(total, np.float64), sums)

    def lowered(self, evaluation: Evaluation, state: step.State) -> Any:
        """Returns the program of an evaluation, lowered, for a state at rest.

        Metrics that prepare something are left out: that can take long.
        """
        metrics = {name: m for name, m in evaluation.metrics.items() if m.prepare is None}
        index, mask = next(base.batches(evaluation.data.length, evaluation.batch_size))
        split = meshes.split_batch(self._mesh)
        placed, row, mask = (
            jax.tree.map(functools.partial(feed.put, sharding=split), part)
            for part in (evaluation.data.rows(index), index, mask)
        )
        reference = np.zeros(evaluation.data.spec.d_out, np.float32)
        program = self._program(dataclasses.replace(evaluation, metrics=metrics))
        return program.lower(state, placed, row, mask, reference, {})

    def all_totals(
        self, evaluations: Mapping[str, Evaluation], state: step.State
    ) -> dict[str, Totals]:
        """Returns the totals of each evaluation, by name."""
        return {name: self.totals(each, state) for name, each in evaluations.items()}

    def outputs(self, state: step.State, batch: types.Batch) -> types.Output:
        """Returns the output for a batch, in the scale of the data, as NumPy arrays."""
        state = step.at_rest(self._method, state)
        batch = jax.tree.map(lambda array: feed.put(np.asarray(array), self._whole), batch)
        return jax.device_get(self._reconstruct(state, batch))

    def encoded(
        self, state: step.State, data: base.Dataset, batch_size: int = 1000
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns codes `[n, d_sae]` and reconstructions `[n, d_out]` of a whole data set."""
        state = step.at_rest(self._method, state)
        codes, x_hat = [], []

        def seen(raw: Any) -> types.Batch:
            return types.Batch(data.decode(raw).x)

        # By itself: what the model makes of examples is the same program for any data set.
        decode = jax.jit(seen, out_shardings=self._whole)
        for index, mask in base.batches(data.length, batch_size):
            raw = jax.tree.map(lambda array: feed.put(array, self._whole), data.rows(index))
            output = self._reconstruct(state, decode(raw))
            rows = int(mask.sum())
            codes.append(np.asarray(output.codes)[:rows])
            x_hat.append(np.asarray(output.x_hat)[:rows])
        return np.concatenate(codes), np.concatenate(x_hat)

    def gathered(self, tree: Any) -> Any:
        """Returns arrays, wherever their parts lie, whole and as NumPy arrays."""
        return jax.device_get(self._gather(tree))

    def _prepared(self, evaluation: Evaluation, state: step.State) -> dict[str, Any]:
        """Returns what metrics compute once, by the metric's name."""
        asking = {name: m.prepare for name, m in evaluation.metrics.items() if m.prepare}
        if not asking:
            return {}
        params = models.with_dictionary(self._method.model, state.params, state.stats)
        gathered = self.gathered(params)
        return {name: prepare(gathered, evaluation.data) for name, prepare in asking.items()}

    def _program(self, evaluation: Evaluation) -> per_member.Program:
        def sums(
            state: step.State,
            raw: Any,
            row: jax.Array,
            mask: jax.Array,
            reference: jax.Array,
            prepared: dict[str, Any],
        ) -> Any:
            batch = dataclasses.replace(evaluation.batch(raw, row), mask=mask)
            output = step.reconstruct(self._method, state, batch)
            bound = step.bind(self._method, state)
            found = {}
            for name, metric in evaluation.metrics.items():
                given = {"prepared": prepared[name]} if name in prepared else {}
                of = models.supply(metric.sums, bound)
                try:
                    found[name] = of(batch, output, reference, **given)
                except errors.ConfigError as error:
                    raise errors.ConfigError(f"config.evals: metric {name}: {error}") from error
            return found

        return per_member.jit(meshes.over(self._mesh, sums), out_shardings=self._whole)


def finish(evaluation: Evaluation, totals: Totals) -> dict[str, float]:
    """Returns the numbers of every metric, by name."""
    numbers: dict[str, float] = {}
    for name, metric in evaluation.metrics.items():
        numbers |= metric.finish(totals[name])
    return numbers


def _first_mean(evaluation: Evaluation) -> np.ndarray:
    """Returns the mean target of the first examples, a point near the mean of the split."""
    batch = base.first(evaluation.data, _FIRST)
    return np.asarray(batch.target.mean(axis=0))
