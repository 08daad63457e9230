"""Pictures of many runs side by side, one file each; a file is found by its name.

A file states `SIZE` and `draw(series, figure)`, which may return what it shows in words. A series
is a folder of runs, such as a sweep: runs that differ in their seed alone are one point of it. L0
is what was measured on the evaluation's examples, never the k that a config asked for.
"""

from collections.abc import Sequence
import dataclasses
import importlib
import json
from pathlib import Path
import pkgutil
from typing import Any

from matplotlib import axes as mpl_axes, figure as mpl_figure

from sae_jax import errors, spread

X = "l0"


@dataclasses.dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
      name: of their folder.
      points: mean and standard deviation over seeds, by metric; L0 grows.
      folders: of the runs of each point.
    """

    name: str
    points: list[dict[str, spread.Stat]]
    folders: list[list[Path]]


def names() -> list[str]:
    """Returns the pictures that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def draw(name: str, folders: Sequence[Path], evaluation: str, path: Path) -> str:
    """Draws a picture of all finished runs below each folder; returns what it says besides.

    Raises:
      UserError: there is no such picture, no finished run, or a run lacks what it shows.
    """
    if name not in names():
        raise errors.UserError(
            f'there is no picture "{name}" of many runs: there are {", ".join(names())}'
        )
    module: Any = importlib.import_module(f"{__name__}.{name}")
    figure = mpl_figure.Figure(figsize=module.SIZE, layout="constrained", dpi=130)
    said = module.draw([load(folder, evaluation) for folder in folders], figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return said or ""


def load(folder: Path, evaluation: str) -> Series:
    """Returns the finished runs below a folder, those that differ in their seed as one point."""
    found: dict[str, list[Path]] = {}
    for results in sorted(folder.rglob("results.json")):
        config = json.loads((results.parent / "config.json").read_text())
        setting = json.dumps({**config, "seed": None}, sort_keys=True)
        found.setdefault(setting, []).append(results.parent)
    if not found:
        raise errors.UserError(f"{folder} holds no finished run: train some first")
    points = [(_point(folder, evaluation, runs), runs) for runs in found.values()]
    points.sort(key=lambda point: point[0][X].mean)
    return Series(folder.name, [point for point, _ in points], [runs for _, runs in points])


def plot(axis: mpl_axes.Axes, series: Sequence[Series], metric: str, label: str) -> None:
    """Draws a metric against L0, a line with error bars for each series that has it.

    Raises:
      UserError: no series has it.
    """
    shown = [each for each in series if all(metric in point for point in each.points)]
    if not shown:
        raise errors.UserError(
            f"none of the runs was evaluated by {metric}: add it to config.evals"
        )
    for each in shown:
        x, y = ([point[of] for point in each.points] for of in (X, metric))
        axis.errorbar(
            [stat.mean for stat in x],
            [stat.mean for stat in y],
            [stat.sd or 0 for stat in y],
            [stat.sd or 0 for stat in x],
            marker=".",
            capsize=2,
            label=each.name,
        )
    axis.set_xlabel("L0, active latents of an example")
    axis.set_ylabel(label)
    axis.spines[["top", "right"]].set_visible(False)


def _of(folder: Path, evaluation: str) -> dict[str, float]:
    """Returns the metrics of one evaluation of a run."""
    results, prefix = json.loads((folder / "results.json").read_text()), f"{evaluation}/"
    return {k.removeprefix(prefix): v for k, v in results.items() if k.startswith(prefix)}


def _point(folder: Path, evaluation: str, folders: list[Path]) -> dict[str, spread.Stat]:
    runs = [_of(each, evaluation) for each in folders]
    shared = set(runs[0]).intersection(*runs)
    if X not in shared:
        raise errors.UserError(
            f"runs in {folder} have no {evaluation}/{X}: choose --evaluation, or add the metric "
            f'"{X}" to config.evals.{evaluation}'
        )
    return {metric: spread.of([run[metric] for run in runs]) for metric in shared}
