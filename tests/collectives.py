"""What a training step moves between eight devices, read from the program that XLA made of it.

    JAX_NUM_CPU_DEVICES=8 python -m tests.collectives [all]

prints as JSON the collectives of some cases on some meshes, or of all on all. Sizes are such that
no two arrays that might move have equally many numbers.
"""

import functools
import itertools
import json
import math
import re
import sys
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType
import numpy as np

from sae_jax import mesh as meshes
from sae_jax.activations import abs_topk, batch_topk, group_max, jumprelu, lifetime, relu, topk
from sae_jax.data import base
from sae_jax.losses import budgets, dead, jumps, matryoshka, reconstruction, sparsity
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.optim import constraints, optimizers
from sae_jax.train import feed, loop, step

BATCH, D_IN, D_SAE, K = 40, 12, 256, 4
MESHES = {"8x1": (8, 1), "1x8": (1, 8), "2x4": (2, 4)}
_KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
_LINE = re.compile(rf"= (.*?) ((?:ragged-)?(?:{_KINDS}))(?:-start)?\((.*)")

_MSE = {"mse_sum": reconstruction.mse_sum}
_AUXK = {**_MSE, "auxk": functools.partial(dead.auxk, k=6)}
_MANY_DEAD = {**_MSE, "auxk": functools.partial(dead.auxk, k=100)}
_DECODED = {
    "multi": functools.partial(budgets.multi_topk, k=8),
    "hierarchical": functools.partial(budgets.hierarchical_topk, k=K),
}
_PREFIXES = {"fixed": matryoshka.matryoshka, "random": matryoshka.matryoshka_random}
_NORMS = {"l1": sparsity.l1_decoder_norm}
# Case: (activation, terms).
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "topk_sparse": (topk.TopK(K, form="sparse"), _AUXK),
    "topk_dense": (topk.TopK(K, form="dense"), _MANY_DEAD),
    "batch_topk": (batch_topk.BatchTopK(K), _AUXK),
    "relu": (relu.ReLU(), {**_AUXK, **_NORMS}),
    "jumprelu": (jumprelu.JumpReLU(), {**_AUXK, "l0": jumps.l0}),
    "abs_topk": (abs_topk.AbsTopK(K, form="sparse"), {**_DECODED, **_PREFIXES, **_NORMS}),
    "lifetime": (lifetime.Lifetime(0.1), {**_DECODED, **_PREFIXES}),
    "group_max": (group_max.GroupMax(2), _AUXK),
}
# These take 20 seconds to compile, all of them a minute.
MOST = [
    *[("topk_sparse", "1x8"), ("topk_sparse", "2x4")],
    *[("batch_topk", "8x1"), ("batch_topk", "2x4"), ("topk_dense", "2x4")],
    *[("abs_topk", "2x4"), ("lifetime", "2x4")],
]
ALL = list(itertools.product(CASES, MESHES))


class Collective(NamedTuple):
    """An array that devices exchange.

    Attributes:
      kind: of the exchange.
      shape: of the array, on one device.
      numbers: in it, over all groups of devices that hold different ones.
      devices: in a group.
    """

    kind: str
    shape: tuple[int, ...]
    numbers: int
    devices: int


def find(program: str, devices: int = 8) -> list[Collective]:
    """Returns the collectives of a compiled program, each array of a tuple by itself."""
    found = []
    for line in program.splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        shapes, kind, rest = match.groups()
        size = _group(kind, rest, devices)
        if size == 1:  # A sum of one device's own: nothing moves.
            continue
        for dims in re.findall(r"\w+\[([\d,]*)\]", shapes):
            shape = tuple(map(int, filter(None, dims.split(","))))
            copies = devices if kind in ("all-to-all", "collective-permute") else devices // size
            if kind == "reduce-scatter":
                copies *= size
            found.append(Collective(kind, shape, copies * math.prod(shape), size))
    return found


def _group(kind: str, rest: str, devices: int) -> int:
    """Returns how many devices take part in one exchange."""
    if kind == "collective-permute":
        return devices
    lists = re.search(r"replica_groups=\{(\{[\d,]*\})", rest)
    if lists:
        return lists[1].count(",") + 1
    grid = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    if grid:
        return int(grid[1])
    axes = re.search(r"replica_groups=mesh\[(.*?)\].*? \{(.*?)\}", rest)
    if axes:
        sizes = {name: int(size) for name, size in re.findall(r"('\w+')=(\d+)", axes[1])}
        named = re.findall(r"('\w+')(?::\(\d+\)(\d+))?", axes[2])
        return math.prod(int(part or sizes[name]) for name, part in named)
    raise ValueError(f"no replica groups: {rest}")


def task(case: str, shape: tuple[int, int]) -> loop.Task:
    """Returns a run over so many devices."""
    activation, terms = CASES[case]
    x = np.random.default_rng(0).random((400, D_IN), np.float32)
    constraint = constraints.unit_norm()
    return loop.Task(
        method=step.Method(
            model=sae.Model(D_IN, D_SAE, activation),
            terms={name: step.Term(term, 1.0) for name, term in terms.items()},
            optimizer=optimizers.adam(lambda step: 1e-3, clip_norm=1.0, constraint=constraint.link),
            project=constraint.project,
            learning_rate=1e-3,
            normaliser=normalise.Unchanged(),
            dead_after=100,
        ),
        data=base.Arrays(base.Spec("random", "train", (D_IN,)), x),
        evaluations={},
        plan=loop.Plan(0, 10, BATCH, 10, 0, 0),
        mesh=jax.make_mesh(shape, ("data", "dictionary"), axis_types=(AxisType.Auto,) * 2),
        latent_axes=sae.LATENT_AXES,
    )


def of_training(task: loop.Task) -> str:
    """Returns the program of a dispatch of training steps."""
    plan, like = task.plan, loop.template(task)
    source = feed.make(task.data, task.mesh, plan.batch_size, plan.seed, plan.log_every)
    payload = source.payload(0, 10, 10)
    return loop.program(task, source, like).lower(like, payload, 0, 10).compile().as_text()


def of_initialisation(task: loop.Task) -> str:
    """Returns the program that makes the state before the first step."""
    where = jax.tree.map(lambda leaf: leaf.sharding, loop.template(task))
    program = jax.jit(meshes.over(task.mesh, loop._initialiser(task)), out_shardings=where)
    return program.lower(*loop._init_arguments(task, fit=True)).compile().as_text()


def sizes(program: str) -> list[int]:
    """Returns how many numbers the arrays of a compiled program hold on one device."""
    shapes = re.findall(r"\w+\[([\d,]+)\]", program)
    return sorted({math.prod(map(int, shape.split(","))) for shape in shapes})


def main(measured: list[tuple[str, str]]) -> dict[str, Any]:
    """Returns the collectives of cases on meshes, and sizes of what initialisation makes."""
    found = {
        f"{case} {name}": find(of_training(task(case, MESHES[name]))) for case, name in measured
    }
    split = {name: shape for name, shape in MESHES.items() if shape[1] > 1}
    made = {name: sizes(of_initialisation(task("relu", split[name]))) for name in split}
    return {"training": found, "initialisation": made}


if __name__ == "__main__":
    json.dump(main(ALL if "all" in sys.argv else MOST), sys.stdout)
