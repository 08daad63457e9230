"""Tables of many runs beside published numbers, one file each; a file is found by its name.

A file states `TITLE`, `COLUMNS` (what `measure` returns, and how the column's head reads), `ROWS`,
`SIZE` and two functions:

  measure(row, seed, run) -> {column: number}    of one trained run; `run` is None where the row has
                                                 no config: a baseline that needs no training here
  draw(lines, figure)                            a plot of the finished table

and, where a row has parts or instances, `join(list of the numbers of its runs) -> numbers`.

`make` trains the runs that are missing, each by `experiments.main` in a folder of its own, measures
those not measured yet, and writes `table.md`, `table.json` and `table.png`; or, without training,
writes them of what has been measured so far.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import importlib
import json
from pathlib import Path
import pkgutil
import re
import shlex
import subprocess
import sys
from types import ModuleType
from typing import Any

from matplotlib import figure as mpl_figure
import ml_collections

from experiments import build, run as runs, workdir
from sae_jax import errors, files, spread, sweep
from sae_jax.train import evaluate, loop, step

ROOT = Path("runs") / "tables"
Numbers = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table, over some seeds.

    Attributes:
      label: in the table's first column.
      config: "configs/<name>.py" or "configs/<name>.py:<variant>"; "" for a baseline.
      overrides: of the config, "model.d_sae": 30.
      seeds: a run each.
      published: what a paper has in a column.
      source: of the published numbers: authors, year, table.
      differs: how the run here is not what the paper did.
      parts: overrides besides, of runs that only together are one measurement: for each seed a run
        of each part.
      instances: runs of each part that differ in nothing but their seeds and are one measurement
        too: those of seed s have the seeds `instances s` and the next ones.
    """

    label: str
    config: str = ""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""
    differs: str = ""
    parts: Sequence[Mapping[str, Any]] = ()
    instances: int = 1


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run, as `measure` sees it.

    Attributes:
      folder: where it is kept.
      task: what was trained, and on what.
      state: as it was saved last.
    """

    folder: Path
    task: loop.Task
    state: step.State

    @functools.cached_property
    def evaluator(self) -> evaluate.Evaluator:
        """What encodes data: `run.evaluator.encoded(run.state, data)`."""
        return evaluate.Evaluator(self.task.method, self.task.mesh)

    @functools.cached_property
    def results(self) -> Numbers:
        """What the run's own evaluations found: `{"test/fvu": ...}`."""
        return json.loads((self.folder / "results.json").read_text())


@dataclasses.dataclass(frozen=True)
class Line:
    """A row and what was measured of it, by column."""

    row: Row
    stats: Mapping[str, spread.Stat]


def names() -> list[str]:
    """Returns the tables that there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "baselines")


def find(name: str) -> ModuleType:
    """Returns the file of a table."""
    return importlib.import_module(f"{__name__}.{name}")


def make(name: str, root: Path = ROOT, seeds: int | None = None, train: bool = True) -> Path:
    """Makes a table, training what is missing; returns its folder.

    Args:
      name: of the table.
      root: where runs and tables are kept.
      seeds: how many of each row's seeds to use; None for all.
      train: False takes only what has been measured; rows of which nothing was are named below.

    Raises:
      UserError: a run cannot be trained, a finished one has another config, or there is nothing to
        show.
    """
    module: Any = find(name)
    lines, missing = [], []
    for row in module.ROWS:
        found = [measured(name, module, row, seed, root, train) for seed in row.seeds[:seeds]]
        numbers = [each for each in found if each is not None]
        if not numbers:
            missing.append(row.label)
            continue
        of = {column: [n[column] for n in numbers if column in n] for column in numbers[0]}
        lines.append(Line(row, {column: spread.of(values) for column, values in of.items()}))
    if not lines:
        raise errors.UserError(f"nothing of {name} has been measured in {root}: train it first")
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder / "table.md", markdown(module, lines, missing))
    files.replace(folder / "table.json", json.dumps(_plain(lines), indent=2) + "\n")
    figure = mpl_figure.Figure(figsize=module.SIZE, layout="constrained", dpi=130)
    module.draw(lines, figure)
    figure.savefig(folder / "table.png")
    return folder


def markdown(module: Any, lines: Sequence[Line], missing: Sequence[str] = ()) -> str:
    """Returns a table as Markdown: what was measured beside what was published.

    Args:
      module: of the table.
      lines: of what was measured.
      missing: labels of the other rows.
    """
    columns: Mapping[str, str] = module.COLUMNS
    published = [c for c in columns if any(c in line.row.published for line in lines)]
    notes = [n for n in ("source", "differs") if any(getattr(line.row, n) for line in lines)]
    head = ["", *columns.values(), *(f"published: {columns[c]}" for c in published), *notes]
    body = [
        [
            line.row.label,
            *(_cell(line.stats.get(column)) for column in columns),
            *(f"{line.row.published[c]:g}" if c in line.row.published else "" for c in published),
            *(getattr(line.row, note) for note in notes),
        ]
        for line in lines
    ]
    rows = [head, ["---"] * len(head), *body]
    rows = [[cell.replace("|", "\\|") for cell in cells] for cells in rows]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    rest = f"\nNot measured yet: {'; '.join(missing)}.\n" if missing else ""
    return f"# {module.TITLE}\n\n{module.__doc__.strip()}\n\n{text}\n{rest}"


def draw_bars(lines: Sequence[Line], column: str, label: str, figure: mpl_figure.Figure) -> None:
    """Draws a bar for each row, with its standard deviation; a diamond is what was published."""
    shown = [line for line in lines if column in {*line.stats, *line.row.published}]
    axis = figure.subplots()
    for place, line in enumerate(shown):
        if column in line.stats:
            stat = line.stats[column]
            axis.barh(place, stat.mean, xerr=stat.sd, color="#4c72b0", height=0.6, capsize=3)
            end = (stat.mean + (stat.sd or 0), place)
            axis.annotate(f"  {stat.mean:.4g}", end, va="center", fontsize=8)
        if column in line.row.published:
            mark = axis.plot(line.row.published[column], place, "D", color="#c44e52", zorder=3)[0]
            mark.set_label("published")
    axis.set_yticks(range(len(shown)), [line.row.label for line in shown])
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(*(part[:1] for part in axis.get_legend_handles_labels()), frameon=False)


def folder_of(row: Row, seed: int, root: Path = ROOT) -> Path:
    """Returns where the run of a row is kept; the same run in two tables is trained once."""
    path, _, variant = row.config.partition(":")
    parts = [Path(path).stem + (f"-{variant}" if variant else "")]
    parts += [f"{key}={value}" for key, value in row.overrides.items()]
    return root / "runs" / _slug(",".join(parts)) / f"seed-{seed}"


def measured(
    name: str, module: Any, row: Row, seed: int, root: Path = ROOT, train: bool = True
) -> Numbers | None:
    """Returns the numbers of one seed of a row, measured now or before.

    Args:
      name: of the table.
      module: of the table.
      row: of the table.
      seed: one of the row's.
      root: where runs and tables are kept.
      train: False returns None for what was not measured before.
    """
    if not row.parts and row.instances == 1:
        return _measured_run(name, module, row, seed, root, train, _slug(row.label))
    found = []
    for part in row.parts or ({},):
        label = _slug(",".join([row.label, *(f"{key}={value}" for key, value in part.items())]))
        whole = dataclasses.replace(row, overrides={**row.overrides, **part}, parts=())
        for own in range(row.instances * seed, row.instances * (seed + 1)):
            found.append(_measured_run(name, module, whole, own, root, train, label))
    return None if None in found else module.join(found)


def _measured_run(
    name: str, module: Any, row: Row, seed: int, root: Path, train: bool, label: str
) -> Numbers | None:
    """Returns the numbers of one run, kept under a label, measured now or before."""
    folder = folder_of(row, seed, root)
    config = _config(row, seed) if row.config else None
    if config is not None and train:
        _train(row, seed, config, folder)
    known = json.dumps(build.plain(config), sort_keys=True) if config is not None else ""
    path = root / name / "measured" / f"{label}-{seed}.json"
    if path.is_file():
        before = json.loads(path.read_text())
        if before["config"] == known and set(before["numbers"]) <= set(module.COLUMNS):
            return before["numbers"]
    if not train:
        return None
    print(f"measuring {name}: {row.label}, seed {seed}", flush=True)
    run = None if config is None else Run(folder, *runs.load(folder))
    numbers = {column: float(value) for column, value in module.measure(row, seed, run).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps({"config": known, "numbers": numbers}, indent=2) + "\n")
    return numbers


def _train(row: Row, seed: int, config: ml_collections.ConfigDict, folder: Path) -> None:
    """Trains a run that is not finished; a finished one must have been trained with `config`."""
    if workdir.finished(folder):
        before = sweep.flat(build.plain(workdir.load_config(folder)))
        if before != sweep.flat(build.plain(config)):
            raise errors.UserError(f"{folder} was trained with another config: delete that folder")
        return
    flags = {**row.overrides, "seed": seed}
    command = [sys.executable, "-m", "experiments.main", f"--config={row.config}"]
    command += [f"--workdir={folder}", *(f"--config.{key}={value}" for key, value in flags.items())]
    print(f"training {row.label}, seed {seed}: {shlex.join(command[1:])}", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise errors.UserError(f"that run ended with status {status}: see above, then start again")


def _config(row: Row, seed: int) -> ml_collections.ConfigDict:
    path, _, variant = row.config.partition(":")
    module = importlib.import_module(".".join(Path(path).with_suffix("").parts))
    config = module.get_config(variant)
    config.update_from_flattened_dict({**row.overrides, "seed": seed})
    return config


def _cell(stat: spread.Stat | None) -> str:
    if stat is None:
        return ""
    if stat.sd is None:
        return f"{stat.mean:.4g}"
    return f"{stat.mean:.4g} ± {stat.sd:.2g} ({stat.n})"


def _slug(text: str) -> str:
    """Returns a text as part of a path."""
    return re.sub(r"[^A-Za-z0-9.,=_-]+", "_", text).strip("_")


def _plain(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "label": line.row.label,
            "config": line.row.config,
            "measured": {column: stat._asdict() for column, stat in line.stats.items()},
            "published": dict(line.row.published),
            "source": line.row.source,
            "differs": line.row.differs,
        }
        for line in lines
    ]
