"""Activations of a language model, or of anything, from stores that `experiments.dump` wrote.

What a step sees is a function of (seed, step): an exact permutation of all rows that are not
excluded, without a buffer. Where a disk is slow to seek, `block` rows that lie together are read
together, and blocks are permuted instead of rows. Of several stores each gives its share of every
batch, and goes through its own rows in its own order.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from sae_jax import errors, types
from sae_jax.data import base
from sae_jax.store import codec, plan as plans, reader


@dataclasses.dataclass(frozen=True, eq=False)
class Activations(base.AtSites):
    """Rows of stores.

    Attributes:
      stores: what is read.
      kept: of each store, the rows of the split that are not excluded.
      shares: of a batch, for each store; they sum to 1.
      block: rows that are read together.
      resident_bytes: up to this size everything is put on the device once.
      label: None; no example is of a class.
    """

    stores: Sequence[reader.Store]
    kept: Sequence[reader.Kept]
    shares: tuple[float, ...]
    block: int = 1
    resident_bytes: int = 2**30
    label: None = None

    @property
    def length(self) -> int:
        """Examples."""
        return sum(kept.length for kept in self.kept)

    @property
    def resident(self) -> bool:
        """Whether all rows live on the device."""
        plan = self.stores[0].plan
        widths = [plan.sites[site] for site in self.reads]
        size = sum(codec.row_bytes(width, plan.dtype) for width in widths)
        return self.length * size <= self.resident_bytes

    @functools.cached_property
    def source(self) -> dict[str, np.ndarray]:
        """All rows, as they are kept."""
        return self.rows(np.arange(self.length))

    def rows(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the rows at `index` as they are kept, read on the host."""
        index = np.asarray(index, np.int64)
        parts = []
        for store, kept, first in zip(self.stores, self.kept, self._firsts, strict=True):
            place = np.flatnonzero((index >= first) & (index < first + kept.length))
            if len(place):
                parts.append((place, self._rows_of(store, kept.rows(index[place] - first))))
        if len(parts) == 1:
            return parts[0][1]
        found = {}
        for name, some in parts[0][1].items():
            found[name] = np.empty((len(index), *some.shape[1:]), some.dtype)
            for place, raw in parts:
                found[name][place] = raw[name]
        return found

    def decode(self, raw: Mapping[str, jax.Array]) -> types.Batch:
        """Turns rows into what a model sees; runs on the device."""
        decoded = {
            site: codec.decode(raw[site], raw.get(site + codec.SCALE)) for site in self.reads
        }
        return self.joined(decoded)

    def at(self, source: dict[str, jax.Array], index: jax.Array) -> types.Batch:
        """Returns the examples at `index` of a `source` that lies on the device."""
        return self.decode({name: array[index] for name, array in source.items()})

    def order(self, seed: int, step: Any, batch_size: int) -> Any:
        """Returns which examples step `step` of training sees: of each store its share.

        A store that has fewer rows than that gives each more than once. Where blocks do not fill
        the batch, the last one is cut: `experiments.checks` refuses to train so.
        """
        xp: Any = jnp if isinstance(step, jax.Array) else np
        counts = self.portions(batch_size)
        parts = [
            first + self._order_of(seed + place, step, count, kept.length)
            for place, (first, count, kept) in enumerate(
                zip(self._firsts, counts, self.kept, strict=True)
            )
            if count
        ]
        return (xp.concatenate(parts) if len(parts) > 1 else parts[0])[:batch_size]

    def portions(self, batch_size: int) -> list[int]:
        """Returns how many blocks of a batch each store gives."""
        return _portions(self.shares, -(-batch_size // self.block))

    def fingerprint(self) -> dict[str, Any]:
        """Returns what tells these rows from others: the checksums of the stores' manifests."""
        contents = [(store.folder / plans.MANIFEST).read_bytes() for store in self.stores]
        return {
            "examples": self.length,
            "shape": list(self.spec.shape),
            "sites": list(self.reads),
            "stores": [f"{zlib.crc32(content):08x}" for content in contents],
        }

    @functools.cached_property
    def _firsts(self) -> list[int]:
        """The number of the first example of each store."""
        return [sum(kept.length for kept in self.kept[:i]) for i in range(len(self.kept))]

    def _rows_of(self, store: reader.Store, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {
            site + name: array
            for site in self.reads
            for name, array in store.read(site, rows).items()
        }

    def _order_of(self, seed: int, step: Any, blocks: int, n: int) -> Any:
        """Returns `blocks * block` of n rows; of fewer blocks, so many permutations of them."""
        xp: Any = jnp if isinstance(step, jax.Array) else np
        seed, there = seed % 2**32, n // self.block
        turns = -(-blocks // there)
        if turns == 1:
            found = base.order(seed, step, blocks, there)
        else:
            whole = [base.order(seed, step * turns + turn, there, there) for turn in range(turns)]
            found = xp.concatenate(whole)[:blocks]
        if self.block == 1:
            return found
        return (found[:, None] * self.block + np.arange(self.block, dtype=np.int32)[None]).ravel()


def load(
    split: str,
    store: str | Sequence[str],
    site: str | Sequence[str] = "",
    target: str | Sequence[str] = (),
    weights: Sequence[float] = (),
    block: int = 1,
    damaged: Literal["refuse", "skip"] = "refuse",
    checksums: bool = True,
    recipe: str = "",
) -> Activations:
    """Returns the rows of a split of one store or several.

    Args:
      split: a split of the stores, "train", "valid" or "test" where `experiments.dump` wrote them.
      store: folder, or folders of stores of the same sites, widths and type.
      site: by name; several are put one behind the other, as a crosscoder wants them; "" for the
        only one.
      target: site or sites to be reconstructed, as a transcoder wants them; none for the input.
      weights: how much of a batch each store gives; none for as much as it holds.
      block: rows that are read together.
      damaged: what becomes of a damaged shard: an error, or its rows are left out.
      checksums: whether shards are read once, before the first run on them, and compared with
        their checksums; False for terabytes, of which only the sizes are then known to be right.
      recipe: the config that `experiments.dump` writes the store by, as `experiments.main` does
        where it is missing.

    Raises:
      DataError: a store is missing, unfinished or damaged, or has no such split or site.
    """
    stores = [_open(folder, damaged, checksums, recipe) for folder in folders(store)]
    first = stores[0]
    sites = base.named(site) or tuple(first.plan.sites)[:1]
    if not base.named(site) and len(first.plan.sites) > 1:
        names = ", ".join(first.plan.sites)
        raise errors.DataError(f"{first.folder} has several sites: set data.site to one of {names}")
    targets = base.named(target)
    widths = [first.width(name) for name in (*sites, *targets)]
    for other in stores[1:]:
        _refuse_another(first, other, (*sites, *targets))
    kept = [reader.Kept(each, split) for each in stores]
    if block < 1 or min(each.length for each in kept) < block:
        raise errors.DataError(f"block={block}: choose from 1 to the rows of the smallest store")
    name = " + ".join(each.folder.name for each in stores)
    spec = base.site_spec(name, split, widths[: len(sites)], widths[len(sites) :])
    return Activations(spec, sites, targets, stores, kept, _shares(weights, kept), block)


def folders(store: str | Sequence[str]) -> list[Path]:
    """Returns the folders that `store` names; raises if it names none."""
    if not (found := [Path(folder).expanduser() for folder in base.named(store) if folder]):
        raise errors.DataError("the data set activations needs --config.data.store=FOLDER")
    return found


def _open(
    where: Path, damaged: Literal["refuse", "skip"], checksums: bool, recipe: str
) -> reader.Store:
    """Returns a store; where there is none, says how to write it."""
    if recipe and not (where / plans.PLAN).is_file():
        # A dump reads configs in Python; a run writes what it lacks by any.
        command = f"python -m experiments.dump --config={recipe} --store={where}"
        if Path(recipe).suffix == ".json":
            command = (
                "copy it there, or train on it by experiments.main with "
                f"--config.data.recipe={recipe} --config.data.store={where}, which writes it"
            )
        raise errors.DataError(f"{where} is not there: {command}")
    store = reader.Store(where, damaged, checksums)
    store.refuse_gone()  # Now, and not when a run ends and its text is to be read.
    return store


def _shares(weights: Sequence[float], kept: Sequence[reader.Kept]) -> tuple[float, ...]:
    given = list(weights) or [each.length for each in kept]
    if len(given) != len(kept) or min(given) < 0 or sum(given) <= 0:
        raise errors.DataError(
            f"weights={tuple(weights)}: give each of the {len(kept)} stores a number from 0 on"
        )
    return tuple(weight / sum(given) for weight in given)


def _portions(shares: Sequence[float], whole: int) -> list[int]:
    """Returns whole numbers in the proportion of shares that sum to `whole`."""
    exact = np.asarray(shares) * whole
    found = np.floor(exact).astype(int)
    largest = np.argsort(-(exact - found), kind="stable")
    found[largest[: whole - found.sum()]] += 1
    return found.tolist()


def _refuse_another(first: reader.Store, other: reader.Store, sites: Sequence[str]) -> None:
    """Raises if two stores do not hold the same."""
    for site in sites:
        if other.width(site) != first.width(site) or other.plan.dtype != first.plan.dtype:
            raise errors.DataError(
                f"{other.folder} has {other.plan.dtype} rows of {other.width(site)} at {site}, "
                f"{first.folder} {first.plan.dtype} rows of {first.width(site)}: they do not mix"
            )
