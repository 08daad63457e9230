"""Finds anomalies with a trained run: `python -m experiments.detect --workdir=W --input=F`.

F is an .npy or .npz file, or a folder of .png pictures, in the units of the run's data. The run's
own held-out normal examples decide above which score an example is flagged, so that of normal ones
no more than `--false_alarms` are, on average. With labels, 0 for normal and 1 for an anomaly, it
says how well the scores tell one from the other. It writes scores.csv, a row an example, and for
pictures worst.png: what was strange about the worst of them.
"""

from pathlib import Path

from absl import flags
import numpy as np

from experiments import build, cli, run, workdir
from experiments.detection import examples, findings, normal
from sae_jax import errors
from sae_jax.analysis import novelty
from sae_jax.data import base
from sae_jax.train import evaluate, loop

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_INPUT = flags.DEFINE_string("input", None, "New examples: .npy, .npz or a folder of .png.")
_SPLIT = flags.DEFINE_string("split", None, "Instead, a split of the run's data, such as test.")
_SCORE = flags.DEFINE_enum("score", "both", novelty.KINDS, "What decides.")
_FALSE_ALARMS = flags.DEFINE_float("false_alarms", 0.01, "Share of normal examples to be flagged.")
_LABELS = flags.DEFINE_string("labels", None, "An .npy of 0 (normal) and 1 (anomaly).")
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    "",
    "A split of the run's data, normal examples only. Default: its evaluation named valid.",
)
_OUT = flags.DEFINE_string("out", None, "Folder. Default: W/anomalies/<name of the input>.")


def main() -> int:
    """Scores, prints and writes; returns the exit status."""
    if _WORKDIR.value is None:
        raise errors.UserError("which run? --workdir=runs/...")
    if (_INPUT.value is None) == (_SPLIT.value is None):
        raise errors.UserError("which examples? --input=FILE, or --split=test of the run's data")
    if not 0 < _FALSE_ALARMS.value < 1:
        raise errors.UserError(
            f"--false_alarms={_FALSE_ALARMS.value} is no rate: set it between 0 and 1"
        )
    cli.use_compilation_cache()
    folder = Path(_WORKDIR.value)
    task, state = run.load(folder)
    group = build.plain(workdir.load_config(folder))["data"]
    data, names, anomalous = _examples(task, group)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    known = normal.fit(task, state, evaluator, group, _CALIBRATION.value)
    limit = known.threshold(_SCORE.value, _FALSE_ALARMS.value)
    encoded = known.encode(data)
    scores = known.scorer(encoded)
    flagged = scores[_SCORE.value] > limit
    found = findings.Findings(data.spec, encoded, scores, _SCORE.value, flagged, names, anomalous)
    print(f"{data.length:,} examples of {data.spec.split}, scored by {_SCORE.value}")
    print(f"normal are {known.source}")
    print(
        f"above {limit:.4g}, set for {100 * _FALSE_ALARMS.value:g} % false alarms: "
        f"{flagged.sum():,} examples, {100 * flagged.mean():.3g} %\n"
    )
    print(found.table())
    if anomalous is not None:
        print("\n" + found.separation())
    name = data.spec.split if _INPUT.value is None else Path(_INPUT.value).stem
    out = Path(_OUT.value) if _OUT.value else folder / "anomalies" / name
    print("\n" + "\n".join(f"  {path}" for path in found.write(out)))
    return 0


def _examples(
    task: loop.Task, group: build.Group
) -> tuple[base.Arrays, list[str] | None, np.ndarray | None]:
    """Returns the examples, their names if they have any, and which are known to be anomalies."""
    names, anomalous = None, None
    if _INPUT.value is not None:
        path = Path(_INPUT.value)
        data, names = examples.load(path, normal.stored(task)), examples.names(path)
        if data.label is not None:
            anomalous = examples.anomalous(f'"label" of {path}', data.label, data.length)
    else:
        data = build.data({**group, "split": _SPLIT.value})
        anomalous = normal.anomalous(task, data)
    if _LABELS.value is not None:
        anomalous = examples.labels(Path(_LABELS.value), data.length)
    return data, names, anomalous


if __name__ == "__main__":
    cli.run(main)
