"""The fraction of variance of an MLP's output that few latents leave unexplained.

An MLP of 64 random neurons in 32 dimensions, each active in 5 % or in half of all examples; 128
latents, of which BatchTopK keeps 3 or 8; 20,000 examples are measured. The SAE reads what the MLP
writes, the transcoders what it reads. A neuron is found in writing if some decoder row has a cosine
above 0.8 with its row of w_out, in reading if some encoder column has with its column of w_in. Of
the true neurons the k that write most are kept, of all examples together, and the mean of the rest
is added; PCA and random directions, of which the k largest projections are kept, read what the MLP
writes. A frozen decoder keeps its random rows.
"""

from collections.abc import Sequence
import functools

from matplotlib.figure import Figure
import numpy as np

from experiments import tables
from experiments.tables import baselines
from sae_jax import types
from sae_jax.data import base, mlp_stack, world
from sae_jax.ops import dictionaries

TITLE = "Transcoders of a random MLP"
COLUMNS = {
    "fvu": "FVU",
    "l0": "L0",
    "written": "neurons found in writing, %",
    "read": "neurons found in reading, %",
}
SIZE = (8.4, 5.2)
_CONFIG = "configs/papers/transcoder.py"
_SHARES = {"5 %": 0.05, "50 %": 0.5}
_DENSE = {"data.active": 0.5, "model.activation.k": 8.0}
_KS = {"5 %": 3, "50 %": 8}
_LINEAR, _ORACLE, _RANDOM = "linear regression", "true neurons", "random directions"
_EXAMPLES, _D_SAE = 20_000, 128
ROWS = (
    tables.Row(f"5 %: {_ORACLE}, k = 3", seeds=(0,)),
    tables.Row("5 %: PCA of the output, 3 components", seeds=(0,)),
    tables.Row(f"5 %: {_RANDOM}"),
    tables.Row(f"5 %: {_LINEAR}", seeds=(0,)),
    tables.Row("5 %: transcoder, frozen decoder", f"{_CONFIG}:frozen"),
    tables.Row("5 %: SAE of the output", f"{_CONFIG}:outputs"),
    tables.Row("5 %: transcoder", _CONFIG),
    tables.Row("5 %: skip transcoder", f"{_CONFIG}:skip"),
    tables.Row(f"50 %: {_ORACLE}, k = 8", seeds=(0,)),
    tables.Row("50 %: PCA of the output, 8 components", seeds=(0,)),
    tables.Row(f"50 %: {_RANDOM}"),
    tables.Row(f"50 %: {_LINEAR}", seeds=(0,)),
    tables.Row("50 %: transcoder, frozen decoder", f"{_CONFIG}:frozen", _DENSE),
    tables.Row("50 %: SAE of the output", f"{_CONFIG}:outputs", _DENSE),
    tables.Row("50 %: transcoder", _CONFIG, _DENSE),
    tables.Row("50 %: skip of rank 8", f"{_CONFIG}:skip", {**_DENSE, "model.skip": "low_rank"}),
    tables.Row("50 %: skip transcoder", f"{_CONFIG}:skip", _DENSE),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or those of a baseline."""
    if run is None:
        return _of_baseline(row.label, seed)
    found = {name: run.results[f"test/{name}"] for name in ("fvu", "l0")}
    weights = mlp_stack.load("test", active=_SHARES[row.label.split(":")[0]]).source
    params = run.evaluator.gathered(run.state.params)
    found["written"] = 100 * dictionaries.recovered(params["w_dec"], weights["w_out"][0])
    if "outputs" not in row.config:
        found["read"] = 100 * dictionaries.recovered(params["w_enc"].T, weights["w_in"][0].T)
    return found


@functools.cache
def _examples(active: float, count: int) -> tuple[world.World, types.Batch, types.Batch]:
    """Returns the test split, and the first examples of training and test split."""
    train, test = (mlp_stack.load(split, active=active) for split in ("train", "test"))
    return test, base.first(train, count), base.first(test, count)


def _of_baseline(label: str, seed: int) -> tables.Numbers:
    share, _, kind = label.partition(": ")
    k = _KS[share]
    data, train, test = _examples(_SHARES[share], _EXAMPLES)
    if kind == _LINEAR:
        return {"fvu": baselines.linear_fvu(train, test, (1, mlp_stack.D))}
    w_out, seen, y = data.source["w_out"][0], np.asarray(train.target), np.asarray(test.target)
    if kind.startswith(_ORACLE):
        codes = [baselines.neurons(data, each, (1, mlp_stack.D)) for each in (train, test)]
        coded = baselines.oracle(w_out, (codes[0], seen), codes[1], k)
    elif kind == _RANDOM:
        coded = baselines.largest_projections(seen, y, _D_SAE, k, seed)
    else:
        coded = baselines.components(seen, y, k)
    found = baselines.scores(data, test, coded, ("fvu", "l0"))
    found["written"] = 100 * dictionaries.recovered(coded.rows, w_out)
    return found | ({"read": 100} if kind.startswith(_ORACLE) else {})


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the FVU."""
    tables.draw_bars(lines, "fvu", "FVU", figure)
