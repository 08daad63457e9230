"""Training curves: each number of `metrics.jsonl` against the step, evaluations as dots."""

from typing import Any

from matplotlib.figure import Figure

from experiments import figures

SIZE = (9.0, 5.4)
_PANELS = {"loss": "loss", "fvu": "FVU", "l0": "L0", "dead": "dead share"}
_MORE = {"grad_norm": "gradient norm", "learning_rate": "learning rate"}


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns steps and values of each number, by its name in `metrics.jsonl`."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for row in run.rows:
        for name, value in row.items():
            if name != "step":
                steps, values = series.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
    return {"series": series} if series else None


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws a panel for each number: a line for training, dots for evaluations."""
    axes = figure.subplots(2, 3)
    for axis, (name, label) in zip(axes.flat, (_PANELS | _MORE).items(), strict=True):
        for series, (steps, values) in rows["series"].items():
            split, _, number = series.partition("/")
            if number != name:
                continue
            style: dict[str, Any] = (
                {"linewidth": 1} if split == "train" else {"marker": "o", "linestyle": "none"}
            )
            axis.plot(steps, values, label=split, markersize=4, **style)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        if name in ("loss", "fvu", "grad_norm") and axis.lines:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:.3g}")
            axis.yaxis.set_minor_formatter("{x:.3g}")
            axis.tick_params(axis="y", which="both", labelsize=7)
        if name == "dead":
            axis.set_ylim(0, max(0.01, 1.05 * axis.get_ylim()[1]))
        if len(axis.lines) > 1:
            axis.legend(fontsize=7)
