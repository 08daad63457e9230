"""Sets the thresholds of a trained model so that a wanted number of latents is active.

BatchTopK estimates its threshold from batches of training, and a JumpReLU comes near its target
only on average: on other examples both are a few per cent off. All thresholds are multiplied by the
one factor with which L0 on held-out examples is what was wanted.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from jax.sharding import Mesh

from sae_jax import errors
from sae_jax.data import base
from sae_jax.metrics import l0 as metric
from sae_jax.train import evaluate, step

_HALVINGS = 24
_RANGE = 20  # Powers of 2 that are tried on either side.
_NEAR, _NEAR_ENOUGH = 1e-3, 1e-2


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What thresholds are set to.

    Attributes:
      l0: latents active in an example, on average over `data`.
      data: held-out examples.
      batch_size: rows at once; no number depends on it.
    """

    l0: float
    data: base.Dataset
    batch_size: int = 1000

    def __post_init__(self) -> None:
        """Refuses an L0 that cannot be."""
        if self.l0 <= 0:
            raise ValueError(f"l0={self.l0}: it must be above 0")


def thresholds(
    method: step.Method, state: step.State, calibration: Calibration, mesh: Mesh
) -> step.State:
    """Returns the state with other thresholds, all multiplied by the same factor.

    L0 falls as the factor rises, so a bisection finds it: some fifteen passes over the examples.

    Raises:
      UserError: the activation has no thresholds, or no factor comes within 1 % of the wanted L0.
    """
    evaluator = evaluate.Evaluator(method, mesh)
    counted = {"l0": evaluate.Metric(metric.sums, metric.finish)}
    evaluation = evaluate.Evaluation(calibration.data, counted, calibration.batch_size)

    def found(power: float) -> float:
        scaled = _scaled(method, state, 2.0**power)
        return evaluate.finish(evaluation, evaluator.totals(evaluation, scaled))["l0"]

    low, high = _bracket(found, calibration.l0)
    for _ in range(_HALVINGS):
        power = (low + high) / 2
        reached = found(power)
        if abs(reached / calibration.l0 - 1) < _NEAR:
            break
        low, high = (power, high) if reached > calibration.l0 else (low, power)
    if abs(reached / calibration.l0 - 1) > _NEAR_ENOUGH:
        raise errors.UserError(
            f"config.calibration: no threshold gives an L0 of {calibration.l0:g}, the nearest is "
            f"{reached:.4g}: choose an L0 that training came near"
        )
    return _scaled(method, state, 2.0**power)


def _bracket(found: Callable[[float], float], l0: float) -> tuple[float, float]:
    """Returns two powers, of which the first gives the wanted L0 or more, the second less."""
    too_many = found(0.0) > l0
    direction, power = (1.0 if too_many else -1.0), 0.0
    while abs(power) < _RANGE:
        last, power = power, power + direction
        if (found(power) > l0) != too_many:
            break
    return min(last, power), max(last, power)


def _scaled(method: step.Method, state: step.State, factor: float) -> step.State:
    """Returns the state with its thresholds multiplied by `factor`."""
    activation: Any = getattr(method.model, "activation", None)
    if not hasattr(activation, "raised"):
        raise errors.UserError(
            'config.calibration: this model has no thresholds; set config.calibration.name="none"'
        )
    stats = activation.raised(state.stats["activation"], factor)
    return dataclasses.replace(state, stats={**state.stats, "activation": stats})
