"""One training step of every variant on fixed data, against the numbers in step.json.

After a change that was meant to change numbers, write them anew and look at the difference:

    python tests/golden/step_test.py
    git diff tests/golden/step.json
"""

import json
from pathlib import Path
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from experiments import build
from sae_jax import types
from sae_jax.losses import parameters, reconstruction, sparsity
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step
from tests import variants

FILE = Path(__file__).with_name("step.json")
RTOL = 1e-5
CASES = {"-".join(filter(None, case)): case for case in variants.cases()}


def measure(case: str) -> dict[str, float]:
    """Returns loss, terms and gradient norm of one step, and the loss after it."""
    variant, activation = CASES[case]
    terms = {
        "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
        "l1": step.Term(sparsity.l1, 0.1),
        "weight_decay": step.Term(parameters.weight_decay, 1e-3),
    }
    if activation == "sigmoid":
        terms["kl"] = step.Term(sparsity.kl, 0.1)
    for name in variants.TERMS.get(variant, ()):
        terms[name] = step.Term(build.losses_by_name()[name], 0.5)
    method = step.Method(
        model=variants.model(variant, activation),
        terms=terms,
        optimizer=optimizers.adam(lambda step: 1e-2),
        project=lambda params: params,
        learning_rate=1e-2,
        normaliser=normalise.Unchanged(),
        dead_after=100,
    )
    batch = types.Batch(x=jnp.asarray(np.random.RandomState(0).rand(16, 8), jnp.float32))
    take = jax.jit(step.make(method))
    state, before = take(jax.jit(lambda x: step.init(method, 0, {}, x))(batch.x), batch)
    _, after = take(state, batch)
    names = ["loss", *(f"loss/{term}" for term in terms), "grad_norm"]
    return {name: float(before[name]) for name in names} | {"loss after": float(after["loss"])}


def test_the_file_has_every_variant_and_no_other():
    assert list(json.loads(FILE.read_text())) == list(CASES), (
        "step.json is not of these variants: run `python tests/golden/step_test.py`"
    )


@pytest.mark.parametrize("case", CASES)
def test_one_step_gives_the_numbers_of_before(case):
    expected = json.loads(FILE.read_text())[case]
    assert measure(case) == pytest.approx(expected, rel=RTOL), (
        f"One step of {case} no longer gives the numbers of step.json. If nothing was meant to "
        "change, this is a bug. If the change was meant, run `python tests/golden/step_test.py`, "
        "commit step.json with it, and say in the message why the new numbers are right."
    )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    FILE.write_text(json.dumps({case: measure(case) for case in CASES}, indent=2) + "\n")
    print(f"wrote {FILE}")
