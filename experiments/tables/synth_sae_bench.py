"""Autoencoders of one L0 on a small SynthSAEBench: best reconstructed is not best understood.

1,024 features in 96 dimensions, 336 of them in trees; 256 latents of which about 7 are active: the
mean number of the 256 most frequent features that are. Measured on 100,000 test examples,
baselines on 20,000. EV is the explained variance, 1 - FVU; F1 is that of each latent's activity and
of the feature it is nearest to; MCC the mean |cosine| of latents and features matched one to one;
uniqueness the share of latents that are nearest to a feature of their own. "oracle" has the 256
most frequent features and their codes; "random directions" keeps the 7 largest projections; a
frozen decoder keeps its random rows.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from configs.papers import synth_sae_bench as config
from experiments import build, tables
from experiments.tables import baselines
from sae_jax import types
from sae_jax.data import base, world

TITLE = "SynthSAEBench, small"
COLUMNS = {"l0": "L0", "ev": "EV", "f1": "F1", "mcc": "MCC", "uniqueness": "uniqueness"}
SIZE = (8.4, 3.6)
_CONFIG = "configs/papers/synth_sae_bench.py:small"
_EXAMPLES = 20_000  # Of a baseline.
_ORACLE, _PCA, _RANDOM = "oracle", "PCA, 7 components", "random directions"
ROWS = (
    tables.Row(_ORACLE, seeds=(0,)),
    tables.Row(_PCA, seeds=(0,)),
    tables.Row(_RANDOM),
    tables.Row("BatchTopK, frozen decoder", f"{_CONFIG}_frozen"),
    tables.Row("L1", f"{_CONFIG}_l1"),
    tables.Row("TopK", f"{_CONFIG}_topk"),
    tables.Row("BatchTopK", _CONFIG),
    tables.Row("Matryoshka", f"{_CONFIG}_matryoshka"),
    tables.Row("JumpReLU", f"{_CONFIG}_jumprelu"),
    tables.Row("matching pursuit", f"{_CONFIG}_matching_pursuit"),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or those of a baseline."""
    if run is not None:
        found = {name: run.results[f"test/{name}"] for name in COLUMNS if name != "ev"}
        return found | {"ev": 1 - run.results["test/fvu"]}
    data = build.data({**_group(), "split": f"test[:{_EXAMPLES}]"})
    train = base.first(build.data({**_group(), "split": "train"}), _EXAMPLES)
    batch = base.first(data, data.length)
    coded = _baseline(row.label, seed, data, train, batch)
    found = baselines.scores(data, batch, coded, ("fvu", "l0", "dictionary", "support"))
    return {name: found[name] for name in COLUMNS if name != "ev"} | {"ev": 1 - found["fvu"]}


def _group() -> build.Group:
    return build.plain(config.get_config("small"))["data"]


def _baseline(
    label: str, seed: int, data: world.World, train: types.Batch, batch: types.Batch
) -> baselines.Coded:
    d_sae = config.get_config("small").model.d_sae
    k = int(config.get_config("small").model.activation.k)
    seen, x = np.asarray(train.x), np.asarray(batch.x)
    if label == _ORACLE:
        codes = [np.asarray(each.truth)[:, :d_sae] for each in (train, batch)]
        return baselines.oracle(data.features[:d_sae], (codes[0], seen), codes[1], d_sae)
    if label == _PCA:
        return baselines.components(seen, x, k)
    return baselines.largest_projections(seen, x, d_sae, k, seed)


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws F1 and MCC against EV, a point for each trained row."""
    left, right = figure.subplots(1, 2)
    for axis, column in ((left, "f1"), (right, "mcc")):
        for line in lines:
            if not line.row.config:
                continue
            x, y = line.stats["ev"], line.stats[column]
            axis.errorbar(
                x.mean, y.mean, y.sd, x.sd, marker="o", capsize=3, ls="", label=line.row.label
            )
        axis.margins(0.1)
        axis.set_xlabel(COLUMNS["ev"])
        axis.set_ylabel(COLUMNS[column])
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
