"""The fraction of variance of an MLP's output that few latents leave unexplained.

An MLP of 64 random neurons in 32 dimensions, each active in 5 % or in half of all examples; 128
latents, of which BatchTopK keeps 3 or 8; 20,000 examples are measured. The SAE reads what the MLP
writes, the transcoders what it reads. A neuron is found in writing if some decoder row has a cosine
above 0.8 with its row of w_out, in reading if some encoder column has with its column of w_in.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments import tables
from experiments.tables import baselines
from sae_jax.data import base, mlp_stack
from sae_jax.ops import dictionaries

TITLE = "Transcoders of a random MLP"
COLUMNS = {
    "fvu": "FVU",
    "l0": "L0",
    "written": "neurons found in writing, %",
    "read": "neurons found in reading, %",
}
SIZE = (8.4, 3.2)
_CONFIG = "configs/papers/transcoder.py"
_SHARES = {"5 %": 0.05, "50 %": 0.5}
_DENSE = {"data.active": 0.5, "model.activation.k": 8.0}
_LINEAR = "linear regression"
ROWS = (
    tables.Row(f"5 %: {_LINEAR}", seeds=(0,)),
    tables.Row("5 %: SAE of the output", f"{_CONFIG}:outputs"),
    tables.Row("5 %: transcoder", _CONFIG),
    tables.Row("5 %: skip transcoder", f"{_CONFIG}:skip"),
    tables.Row(f"50 %: {_LINEAR}", seeds=(0,)),
    tables.Row("50 %: SAE of the output", f"{_CONFIG}:outputs", _DENSE),
    tables.Row("50 %: transcoder", _CONFIG, _DENSE),
    tables.Row("50 %: skip of rank 8", f"{_CONFIG}:skip", {**_DENSE, "model.skip": "low_rank"}),
    tables.Row("50 %: skip transcoder", f"{_CONFIG}:skip", _DENSE),
)


def measure(row: tables.Row, seed: int, run: tables.Run | None) -> tables.Numbers:
    """Returns the run's numbers on the test examples, or the FVU of a regression."""
    del seed
    if run is None:
        active = _SHARES[row.label.split(":")[0]]
        train, test = (
            base.first(mlp_stack.load(split, active=active), 20_000) for split in ("train", "test")
        )
        return {"fvu": baselines.linear_fvu(train, test, (1, mlp_stack.D))}
    found = {name: run.results[f"test/{name}"] for name in ("fvu", "l0")}
    weights = mlp_stack.load("test", active=_SHARES[row.label.split(":")[0]]).source
    params = run.evaluator.gathered(run.state.params)
    found["written"] = 100 * dictionaries.recovered(params["w_dec"], weights["w_out"][0])
    if "outputs" not in row.config:
        found["read"] = 100 * dictionaries.recovered(params["w_enc"].T, weights["w_in"][0].T)
    return found


def draw(lines: Sequence[tables.Line], figure: Figure) -> None:
    """Draws the FVU."""
    tables.draw_bars(lines, "fvu", "FVU", figure)
