"""Data whose features are known: examples are drawn on the device, as they are read.

  x = sum_i codes_i features_i + bias + noise,     codes = draw(key of the example)

An example is a function of (seed, split, its number): the same in whatever batch, on whatever
device, and however many there are. Where a world has a network, x goes through it, and what comes
out is the example and its target.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.ops import sparse

LONGEST = 2**31 - 1  # Numbers of examples are int32.
Draw = Callable[[jax.Array], jax.Array | types.Codes]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A fixed function that makes examples and targets of sums of features.

    Attributes:
      of: `(weights, x [batch, d]) -> (x [batch, d_in], y [batch, d_out])`, to run on the device; y
        may be None, for x itself.
      weights: float32, by name; not "features" and not "bias".
    """

    of: Callable[[Mapping[str, jax.Array], jax.Array], tuple[jax.Array, jax.Array | None]]
    weights: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """Examples made of features, and of codes that are drawn for each.

    Attributes:
      spec: what an example is; its split names the keys.
      start: number of the first example.
      length: examples.
      features: float32 `[n_features, d_in]`, or, of what a network takes, `[n_features, d]`.
      draw: from a typed PRNG key `[]` to the codes of one example: `[n_features]`, or `Codes` whose
        values and indices are `[k]`, where few of many features are active.
      seed: of the codes, below 2**32.
      bias: float32, as long as a feature.
      noise: standard deviation of the normal noise on each number of a sum of features.
      parents: int `[n_features]`, the feature without which each is never active, -1 for none; or
        None, where none has one.
      network: what examples and targets come out of. None: there is none, and no target.
      label: None; no example is of a class.
      resident: True; there is nothing to read.
    """

    spec: base.Spec
    start: int
    length: int
    features: np.ndarray
    draw: Draw
    seed: int
    bias: np.ndarray
    noise: float = 0.0
    parents: np.ndarray | None = None
    network: Network | None = None
    label: None = None
    resident: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot be drawn."""
        if self.length < 1 or self.start + self.length > LONGEST:
            raise errors.DataError(
                f"{self.spec.name} ({self.spec.split}) has {self.length} examples: it must have "
                f"from 1 to {LONGEST}"
            )

    @property
    def source(self) -> dict[str, np.ndarray]:
        """What lies on the device: features, bias, and the weights of the network."""
        weights = {} if self.network is None else self.network.weights
        return {"features": self.features, "bias": self.bias, **weights}

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the numbers of examples, all that is needed to make them."""
        return {"number": np.asarray(index, np.int32) + np.int32(self.start)}

    def decode(self, raw: dict[str, jax.Array]) -> types.Batch:
        """Makes the examples of these numbers; runs on the device."""
        return self._program(jax.tree.map(jnp.asarray, self.source), raw["number"])

    def at(self, source: dict[str, jax.Array], index: jax.Array) -> types.Batch:
        """Makes the examples at `index`; runs on the device."""
        return self._made(source, index + self.start)

    @functools.cached_property
    def _program(self) -> Callable[..., types.Batch]:
        return jax.jit(self._made)  # Of small operations, each compiled if called by itself.

    def _made(self, source: dict[str, jax.Array], number: jax.Array) -> types.Batch:
        split = np.uint32(zlib.crc32(base.parse_split(self.spec.split)[0].encode()))
        of_split = jax.random.fold_in(jax.random.key(self.seed), split)
        keys = jax.vmap(lambda number: jax.random.fold_in(of_split, number))(number)
        codes = jax.vmap(self.draw)(keys)
        x = sparse.product(codes, source["features"]) + source["bias"][None]
        if self.noise:
            keys = jax.vmap(lambda key: jax.random.fold_in(key, zlib.crc32(b"noise")))(keys)
            x += self.noise * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        truth, y = sparse.dense(codes), None
        if self.network is not None:
            x, y = self.network.of(source, x)
        return types.Batch(x=x, y=y, truth=truth)

    def order(self, seed: int, step: Any, batch_size: int) -> Any:
        """Returns which examples step `step` of training sees."""
        return base.order(seed, step, batch_size, self.length)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells this world from another: its arrays and its first examples."""
        batch = base.first(self, 64)
        checksum = 0
        for name, array in self.source.items():
            if name != "bias":
                checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
        return {
            "examples": self.length,
            "shape": list(self.spec.shape),
            "features": len(self.features),
            "crc32": f"{checksum:08x}",
            "first": [round(float(value), 3) for value in np.asarray(batch.x.mean(axis=1))[:4]],
        }


def load(
    name: str,
    split: str,
    counts: dict[str, int],
    features: np.ndarray,
    draw: Draw,
    seed: int,
    bias: np.ndarray | None = None,
    noise: float = 0.0,
    parents: np.ndarray | None = None,
    grid: tuple[int, ...] | None = None,
    network: Network | None = None,
) -> World:
    """Returns a split of a world.

    Args:
      name: of the world.
      split: one of `counts`, or a part of it: "train[:1000]".
      counts: examples of each split.
      features: `[n_features, d]`.
      draw: the codes of one example from its key.
      seed: of the codes.
      bias: `[d]`; None: zeros.
      noise: standard deviation of the normal noise on each number of a sum of features.
      parents: int `[n_features]`, -1 for a feature without one; None: none has one.
      grid: what an example, reshaped, is.
      network: what examples and targets come out of, if any.
    """
    part, rows = base.parse_split(split)
    if part not in counts:
        raise errors.DataError(f'{name} has no split "{part}": it has {", ".join(counts)}')
    numbers = base.cut(range(counts[part]), rows)
    d = features.shape[1]
    shape, target_shape = _shapes(network, d)
    return World(
        spec=base.Spec(name, split, shape, grid, target_shape),
        start=numbers.start,
        length=len(numbers),
        features=np.asarray(features, np.float32),
        draw=draw,
        seed=seed,
        bias=np.zeros(d, np.float32) if bias is None else np.asarray(bias, np.float32),
        noise=noise,
        parents=parents,
        network=network,
    )


def _shapes(network: Network | None, d: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Returns the shapes of an example and of its target, None if that is the example itself."""
    if network is None:
        return (d,), None
    x, y = jax.eval_shape(network.of, dict(network.weights), jnp.zeros((1, d)))
    return (x.shape[1],), None if y is None else (y.shape[1],)
