"""What the finished trials of sweeps reached: a row a trial, and means over seeds.

A row holds a trial's overrides and the metrics of its `results.json`. Metrics are the keys with a
slash ("test/fvu"); keys of configs have none.
"""

from collections.abc import Iterable, Sequence
import csv as csv_format
import io
import json
import pathlib
from typing import Any

from launch import trials as trials_lib
from sae_jax import errors, files, spread

Row = dict[str, Any]


def rows(trials: Iterable[trials_lib.Trial]) -> list[Row]:
    """Returns overrides and metrics of every finished trial, in the order of the trials.

    Raises:
      errors.UserError: the results of a finished trial are not there or cannot be read.
    """
    done = [trial for trial in trials if trials_lib.finished(trial)]
    return [trial.overrides | _results(trial.workdir / "results.json") for trial in done]


def summary(rows: Iterable[Row]) -> list[Row]:
    """Returns one row for each setting: its overrides without `seed`, `n`, and a Stat a metric.

    `n` counts the runs of the setting; the n of a Stat counts those that have the metric.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        setting = {k: v for k, v in row.items() if not _is_metric(k) and k != "seed"}
        groups.setdefault(repr(sorted(setting.items())), []).append(row)
    aggregated = []
    for group in groups.values():
        merged: Row = {k: v for k, v in group[0].items() if not _is_metric(k) and k != "seed"}
        merged["n"] = len(group)
        for key in filter(_is_metric, _columns(group)):
            merged[key] = spread.of([row[key] for row in group if key in row])
        aggregated.append(merged)
    return aggregated


def markdown(summary: Sequence[Row]) -> str:
    """Returns a summary as an aligned Markdown table; what a row has not is "-"."""
    settings = [key for key in _columns(summary) if not _is_metric(key) and key != "n"]
    keys = [*settings, "n", *filter(_is_metric, _columns(summary))]
    lines = [keys] + [[_cell(row, key) for key in keys] for row in summary]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |\n"
        for line in lines
    )


def csv(rows: Sequence[Row]) -> str:
    """Returns rows as comma-separated values in full precision; what a row has not is empty."""
    file = io.StringIO()
    columns = sorted(_columns(rows), key=_is_metric)
    writer = csv_format.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: trials_lib.text(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def write(folder: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes `table.csv` (a line a trial) and `table.md` (a line a setting) into the folder."""
    for file, content in (("table.csv", csv(rows)), ("table.md", markdown(summary(rows)))):
        files.replace(folder / file, content)


def publish(trials: Sequence[trials_lib.Trial]) -> str:
    """Writes the tables into the folder of each sweep and returns them for reading."""
    shown = ""
    for folder in dict.fromkeys(trial.workdir.parent for trial in trials):
        if done := rows(trial for trial in trials if trial.workdir.parent == folder):
            write(folder, done)
            shown += f"\n{folder}/table.md, {folder}/table.csv\n{markdown(summary(done))}"
    return shown


def _results(path: pathlib.Path) -> dict[str, float]:
    """Returns the metrics of a finished run; one that is null is left out."""
    if not path.is_file():
        raise errors.UserError(
            f"{path.parent} is marked DONE, but has no {path.name}: delete {path.parent / 'DONE'} "
            "and run the trial again"
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return {key: float(value) for key, value in results.items() if value is not None}
    except (ValueError, TypeError, AttributeError, OSError) as e:
        hint = "delete DONE beside it and run the trial again"
        raise errors.UserError(f"{path} is no flat dict of numbers ({e}); {hint}") from e


def _cell(row: Row, key: str) -> str:
    """Returns how one number or setting is shown, metrics with four significant digits."""
    if key not in row:
        return "-"
    value = row[key]
    if not isinstance(value, spread.Stat):
        return trials_lib.text(value)
    deviation = "" if value.sd is None else f" ± {value.sd:.4g}"
    fewer = "" if value.n == row["n"] else f" (n={value.n})"
    return f"{value.mean:.4g}{deviation}{fewer}"


def _columns(rows: Iterable[Row]) -> list[str]:
    """Returns the keys of all rows in the order in which they first appear."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _is_metric(key: str) -> bool:
    """Tells metrics ("test/fvu") from keys of configs."""
    return "/" in key
