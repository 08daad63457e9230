"""How well a run tells anomalies from normal examples: histograms of its scores, and ROC curves.

Anomalies are examples whose label no training example has.
"""

from typing import Any

from matplotlib.figure import Figure
import numpy as np

from experiments import figures
from experiments.detection import normal
from sae_jax.analysis import novelty

SIZE = (9.8, 3.4)
_FALSE_ALARMS = 0.01


def rows(run: figures.Run) -> dict[str, Any] | None:
    """Returns each kind's scores, AUROC and average precision, and the threshold."""
    found = normal.judged(run.task)
    if found is None or normal.CALIBRATION not in run.task.evaluations:
        return None
    data, anomalous = found
    known = normal.fit(run.task, run.state, run.evaluator)
    scores = known.scorer(known.encode(data))
    held_out = len(known.scores["both"])
    return {
        "scores": scores,
        "anomalous": anomalous,
        "separation": {kind: novelty.separation(scores[kind], anomalous) for kind in scores},
        "threshold": known.threshold("both", max(_FALSE_ALARMS, 1 / (held_out + 1))),
    }


def draw(rows: dict[str, Any], figure: Figure) -> None:
    """Draws the scores of both kinds on the left and the ROC curves on the right."""
    from sklearn import metrics

    anomalous, both = rows["anomalous"], rows["scores"]["both"]
    left, right = figure.subplots(1, 2)
    low, high = np.percentile(both, (0.1, 99.9))
    bins = np.linspace(low, high, 50).tolist()
    for name, kind in (("normal", ~anomalous), ("anomalies", anomalous)):
        left.hist(both[kind], bins=bins, density=True, alpha=0.6, label=f"{name}: {kind.sum():,}")
    left.axvline(rows["threshold"], color="black", linewidth=1, linestyle="--")
    missed = (both[anomalous] <= rows["threshold"]).mean()
    false = (both[~anomalous] > rows["threshold"]).mean()
    left.set_title(
        f"beyond the line {100 * (1 - missed):.3g} % of anomalies, {100 * false:.2g} % of normal",
        fontsize=9,
    )
    left.set_xlabel("z(log residual) + z(log latent)")
    left.set_ylabel("density")
    left.legend(fontsize=8)
    for kind, score in rows["scores"].items():
        false_rate, hit_rate, _ = metrics.roc_curve(anomalous, score)
        got = rows["separation"][kind]
        label = f"{kind}: AUROC {100 * got['auroc']:.1f} %, AP {100 * got['ap']:.1f} %"
        right.plot(false_rate, hit_rate, label=label, linewidth=1)
    right.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
    right.set_xlabel("share of normal examples flagged")
    right.set_ylabel("share of anomalies flagged")
    right.legend(fontsize=8, loc="lower right")
