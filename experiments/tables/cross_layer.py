"""The fraction of variance of three layers' outputs that six latents leave unexplained.

Three random MLPs of 64 neurons in a residual stream, half of the neurons the same in all three,
each active in 5 % of all examples; 288 latents, of which BatchTopK keeps 6 for all layers together;
20,000 examples are measured. A cross-layer transcoder may write what a repeated neuron does in all
layers with one latent, transcoders of single layers need one in each. The regression of a layer is
on what it and those before it read. Of the true neurons, each of its own layer, the six that write
most are kept, of all examples together, and the mean of the rest is added; PCA and random
directions, of which the six largest projections are kept, read what all layers write. A frozen
decoder keeps its random rows.
"""

from collections.abc import Sequence
import functools

from matplotlib.figure import Figure
import numpy as np
from scipy import linalg

from experiments import tables
from experiments.tables import baselines
from sae_jax import types
from sae_jax.data import base, mlp_stack, world

TITLE = "Cross-layer transcoders of three random MLPs"
COLUMNS = {"fvu": "FVU", "l0": "L0", "dead": "dead latents, %"}
SIZE = (8.0, 3.2)
_CONFIG = "configs/papers/cross_layer_transcoder.py:batch_topk"
_LAYERS = 3
_ORACLE, _RANDOM, _LINEAR = "true neurons, k = 6", "random directions", "linear regression"
_EXAMPLES, _D_SAE, _K = 20_000, 288, 6
ROWS = (
    tables.Row(_ORACLE, seeds=(0,)),
    tables.Row("PCA of the outputs, 6 components", seeds=(0,)),
    tables.Row(_RANDOM),
    tables.Row(_LINEAR, seeds=(0,)),
    tables.Row("cross-layer transcoder, frozen decoder", _CONFIG.replace("batch_topk", "frozen")),
    tables.Row("transcoders of single layers", _CONFIG, {"model.cross": False}),
    tables.Row("cross-layer transcoder", _CONFIG),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or those of a baseline."""
    if run is not None:
        found = {name: run.results[f"test/{name}"] for name in ("fvu", "l0")}
        return found | {"dead": 100 * run.results["test/dead"]}
    return _of_baseline(row.label, seed)


@functools.cache
def _examples(count: int) -> tuple[world.World, types.Batch, types.Batch]:
    """Returns the test split, and the first examples of training and test split."""
    train, test = (
        mlp_stack.load(split, layers=_LAYERS, repeated=0.5) for split in ("train", "test")
    )
    return test, base.first(train, count), base.first(test, count)


def _of_baseline(label: str, seed: int) -> tables.Numbers:
    grid = (_LAYERS, mlp_stack.D)
    data, train, test = _examples(_EXAMPLES)
    if label == _LINEAR:
        return {"fvu": baselines.linear_fvu(train, test, grid)}
    seen, y = np.asarray(train.target), np.asarray(test.target)
    if label == _ORACLE:
        rows = linalg.block_diag(*data.source["w_out"])
        codes = [baselines.neurons(data, each, grid) for each in (train, test)]
        coded = baselines.oracle(rows, (codes[0], seen), codes[1], _K)
    elif label == _RANDOM:
        coded = baselines.largest_projections(seen, y, _D_SAE, _K, seed)
    else:
        coded = baselines.components(seen, y, _K)
    found = baselines.scores(data, test, coded, ("fvu", "l0", "density"))
    return {"fvu": found["fvu"], "l0": found["l0"], "dead": 100 * found["dead"]}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the FVU."""
    tables.draw_bars(lines, "fvu", "FVU", figure)
