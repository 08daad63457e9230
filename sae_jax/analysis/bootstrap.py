"""How sure a number of an evaluation is: bootstrap intervals over blocks of examples.

A split is measured in blocks. Of as many blocks, drawn with replacement, the metric is computed
again, a thousand times; the interval holds the middle share of what came out (Efron 1979,
percentile method). It says what other examples would have changed, and nothing about other seeds of
training.

The share of dead latents has no interval: a draw leaves examples out and adds none, so it can only
grow, and the number itself would lie outside.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from sae_jax import errors
from sae_jax.train import evaluate

_FEWEST = 20
_ONE_WAY = ("dead",)


def intervals(
    evaluation: evaluate.Evaluation,
    blocks: Sequence[evaluate.Totals],
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Returns for each number of an evaluation that has an interval the ends of it.

    Args:
      evaluation: whose metrics turn totals into numbers.
      blocks: the totals of each block, of about the same number of examples.
      draws: how often blocks are drawn.
      level: the share of draws that an interval holds, between 0 and 1.

    Raises:
      DataError: there are fewer than 20 blocks.
    """
    if len(blocks) < _FEWEST:
        raise errors.DataError(
            f"{evaluation.data.spec.name} ({evaluation.data.spec.split}) was measured in "
            f"{len(blocks)} blocks: an interval needs {_FEWEST} or more; choose a split of more "
            "examples, or documents, with --split, or leave out --intervals"
        )
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *blocks)
    return of_sums(stacked, functools.partial(evaluate.finish, evaluation), draws, level)


def of_sums(
    sums: Any, finish: Callable[[Any], dict[str, float]], draws: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Returns for each number that `finish` makes of totals the ends of its interval.

    Args:
      sums: a tree of arrays `[blocks, ...]`, what each block adds to the totals.
      finish: from totals, `[...]`, to numbers.
      draws: how often blocks are drawn.
      level: the share of draws that an interval holds, between 0 and 1.

    Raises:
      DataError: there are fewer than 20 blocks.
    """
    blocks = len(jax.tree.leaves(sums)[0])
    if blocks < _FEWEST:
        raise errors.DataError(
            f"{blocks} documents are too few: an interval needs {_FEWEST} or more; read more of "
            "them with --sequences, or leave out --intervals"
        )
    random = np.random.RandomState(0)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        times = random.multinomial(blocks, np.full(blocks, 1 / blocks))
        totals = jax.tree.map(lambda parts, times=times: np.tensordot(times, parts, 1), sums)
        for name, value in finish(totals).items():
            if name not in _ONE_WAY:
                found.setdefault(name, []).append(value)
    ends = [50 * (1 - level), 50 * (1 + level)]
    return {
        name: tuple(float(end) for end in np.percentile(values, ends))  # type: ignore[misc]
        for name, values in found.items()
    }
