"""Autoencoders of one L0 on a small SynthSAEBench: best reconstructed is not best understood.

1,024 features in 96 dimensions, 336 of them in trees; 256 latents of which about 7 are active: the
mean number of the 256 most frequent features that are. Measured on 100,000 test examples,
baselines on 20,000. EV is the explained variance, 1 - FVU; F1 is that of each latent's activity and
of the feature it is nearest to; MCC the mean |cosine| of latents and features matched one to one;
uniqueness the share of latents that are nearest to a feature of their own. "oracle" has the 256
most frequent features and their codes; "random directions" keeps the 7 largest projections.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from configs.papers import synth_sae_bench as config
from experiments import build, tables
from experiments.tables import baselines
from sae_jax import types
from sae_jax.data import base, world
from sae_jax.metrics import fvu, l0, support
from sae_jax.ops import dictionaries

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
    return scores(data, batch, *_baseline(row.label, seed, data, train, batch))


def _group() -> build.Group:
    return build.plain(config.get_config("small"))["data"]


def _baseline(
    label: str, seed: int, data: world.World, train: types.Batch, batch: types.Batch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns dictionary, codes and reconstructions."""
    d_sae = config.get_config("small").model.d_sae
    k = int(config.get_config("small").model.activation.k)
    seen, x = np.asarray(train.x), np.asarray(batch.x)
    if label == _ORACLE:
        rows = data.features[:d_sae]
        rest = seen - np.asarray(train.truth)[:, :d_sae] @ rows
        codes = np.asarray(batch.truth)[:, :d_sae]
        return rows, codes, codes @ rows + rest.mean(axis=0)
    if label == _PCA:
        fitted = baselines.pca(seen, k)
        codes = fitted.transform(x)
        return fitted.components_, codes, fitted.inverse_transform(codes)
    rows = baselines.random_directions(x.shape[1], d_sae, seed).T
    shown = np.maximum((x - seen.mean(axis=0)) @ rows.T, 0)
    codes = np.where(shown >= np.sort(shown, axis=1)[:, -k:][:, :1], shown, 0)
    return rows, codes, codes @ rows + seen.mean(axis=0)


def scores(
    data: world.World,
    batch: types.Batch,
    rows: np.ndarray,
    codes: np.ndarray,
    x_hat: np.ndarray,
) -> tables.Numbers:
    """Returns what `COLUMNS` lists, of a dictionary `[d_sae, d_in]`, its codes and outputs."""
    known = jnp.asarray(codes, jnp.float32)
    output = types.Output(jnp.asarray(x_hat, jnp.float32), known, known)
    reference = batch.x.mean(axis=0)
    prepared = support.prepare({"w_dec": rows}, data)
    unexplained = fvu.finish(fvu.sums(batch, output, reference))["fvu"]
    judged = support.sums(batch, output, reference, prepared)
    return {
        "l0": l0.finish(l0.sums(batch, output, reference))["l0"],
        "ev": 1 - unexplained,
        "f1": support.finish({name: np.asarray(total) for name, total in judged.items()})["f1"],
        "mcc": dictionaries.mcc(rows, data.features),
        "uniqueness": dictionaries.uniqueness(rows, data.features),
    }


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
