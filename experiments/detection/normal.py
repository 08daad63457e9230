"""What is normal to a trained run: a scorer from its data, and which of its examples are not."""

from collections.abc import Callable
import dataclasses
import functools

import jax
import numpy as np

from experiments import build
from sae_jax import errors
from sae_jax.analysis import novelty
from sae_jax.data import base
from sae_jax.train import evaluate, loop, step

CALIBRATION = "valid"  # The evaluation whose examples calibrate, unless another split is named.
_REFERENCE = 10_000  # Training examples that codes are compared with, spread over all.


@dataclasses.dataclass(frozen=True)
class Normal:
    """A run's scorer, and the scores of normal examples that nothing was fitted to.

    Attributes:
      encode: what the model makes of a data set.
      scorer: fitted to training examples and to the held-out ones at even places.
      scores: of the held-out examples at odd places, by kind.
      source: where the held-out examples are from, in words.
    """

    encode: Callable[[base.Arrays], novelty.Encoded]
    scorer: novelty.Scorer
    scores: dict[str, np.ndarray]
    source: str

    def threshold(self, kind: str, false_alarms: float) -> float:
        """Returns the score above which an example is flagged: `sae_jax.analysis.novelty`."""
        return novelty.threshold(self.scores[kind], false_alarms)


def fit(
    task: loop.Task,
    state: step.State,
    evaluator: evaluate.Evaluator,
    group: build.Group | None = None,
    calibration: str = "",
) -> Normal:
    """Fits a scorer to a run's training data and its held-out normal examples.

    Every example of the training data and of the held-out ones counts as normal. Half of the
    held-out examples give the scores their units, the other half is for thresholds: what a
    threshold promises needs examples that the scorer has not seen.

    Args:
      task: the run's.
      state: as it was saved last.
      evaluator: of the task's method.
      group: the config's group of data, to read a `calibration` with.
      calibration: a split of it. Empty: the evaluation named "valid", or, where there is none, the
        last tenth of the training data, which the model has seen: with more false alarms than
        asked for.
    """
    train = stored(task)
    if train.spec.target_shape is not None or train.y is not None:
        raise errors.UserError(f"a run on {train.spec.name} does not reconstruct its input")
    if calibration:
        assert group is not None
        held_out = build.data({**group, "split": calibration})
        source = f"{held_out.length:,} examples of {calibration}"
    elif CALIBRATION in task.evaluations:
        held_out = stored(task, CALIBRATION)
        source = f"{held_out.length:,} examples of {held_out.spec.split}"
    else:
        first = train.length - max(train.length // 10, 1)
        train, held_out = rows(train, slice(first)), rows(train, slice(first, None))
        source = (
            f"the last {held_out.length:,} training examples, which the model has seen: expect "
            "more false alarms"
        )
    train = rows(train, slice(None, None, max(1, -(-train.length // _REFERENCE))))
    of = functools.partial(encode, evaluator, state)
    known = of(held_out)
    scorer = novelty.fit(of(train), known[::2])
    return Normal(of, scorer, scorer(known[1::2]), source)


def encode(evaluator: evaluate.Evaluator, state: step.State, data: base.Arrays) -> novelty.Encoded:
    """Returns what a model makes of a data set."""
    codes, x_hat = evaluator.encoded(state, data)
    x = data.x.reshape(data.length, -1).astype(np.float32) / data.divisor
    return novelty.Encoded(x, x_hat, codes)


def judged(task: loop.Task) -> tuple[base.Arrays, np.ndarray] | None:
    """Returns the first evaluation with normal examples and anomalies, and bool `[n]`: which.

    None where there is none, where the model does not reconstruct its input, and in a run of
    several processes, of which only the first draws: draw when it is done.
    """
    if jax.process_count() > 1:
        return None
    if not isinstance(task.data, base.Arrays):
        return None
    if task.data.spec.target_shape is not None or task.data.y is not None:
        return None
    for evaluation in task.evaluations.values():
        data = evaluation.data
        if isinstance(data, base.Arrays) and (found := anomalous(task, data)) is not None:
            return data, found
    return None


def stored(task: loop.Task, evaluation: str = "") -> base.Arrays:
    """Returns the training data, or those of an evaluation; refuses data that no file holds."""
    data = task.evaluations[evaluation].data if evaluation else task.data
    if not isinstance(data, base.Arrays):
        raise errors.UserError(f"{data.spec.name} has no normal examples: it is made as it is read")
    return data


def anomalous(task: loop.Task, data: base.Dataset) -> np.ndarray | None:
    """Returns bool `[n]`: which examples have a label that no training example has.

    None where labels are not known, or where not both kinds are there.
    """
    if task.data.label is None or data.label is None:
        return None
    found = ~np.isin(data.label, np.unique(task.data.label))
    return found if found.any() and not found.all() else None


def rows(data: base.Arrays, place: slice | np.ndarray) -> base.Arrays:
    """Returns some of the examples of a data set."""
    label = None if data.label is None else data.label[place]
    return dataclasses.replace(data, x=data.x[place], label=label)
