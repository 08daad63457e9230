"""The fraction of variance of three layers' outputs that six latents leave unexplained.

Three random MLPs of 64 neurons in a residual stream, half of the neurons the same in all three,
each active in 5 % of all examples; 288 latents, of which BatchTopK keeps 6 for all layers together;
20,000 examples are measured. A cross-layer transcoder may write what a repeated neuron does in all
layers with one latent, transcoders of single layers need one in each. The regression of a layer is
on what it and those before it read.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, mlp_stack

TITLE = "Cross-layer transcoders of three random MLPs"
COLUMNS = {"fvu": "FVU", "l0": "L0", "dead": "dead latents, %"}
SIZE = (8.0, 2.2)
_CONFIG = "configs/papers/cross_layer_transcoder.py:batch_topk"
_LAYERS = 3
ROWS = (
    tables.Row("linear regression", seeds=(0,)),
    tables.Row("transcoders of single layers", _CONFIG, {"model.cross": False}),
    tables.Row("cross-layer transcoder", _CONFIG),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or the FVU of a regression."""
    del row, seed
    if run is not None:
        found = {name: run.results[f"test/{name}"] for name in ("fvu", "l0")}
        return found | {"dead": 100 * run.results["test/dead"]}
    train, test = (
        base.first(mlp_stack.load(split, layers=_LAYERS, repeated=0.5), 20_000)
        for split in ("train", "test")
    )
    return {"fvu": baselines.linear_fvu(train, test, (_LAYERS, mlp_stack.D))}


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the FVU."""
    tables.draw_bars(lines, "fvu", "FVU", figure)
