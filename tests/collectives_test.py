"""What moves between devices: never `[batch, d_sae]`, and no weights but their gradient."""

import json

import pytest

from tests import collectives
from tests.collectives import BATCH, D_IN, D_SAE, MESHES

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def measured(program):
    """What eight devices exchange, by case and mesh, and the arrays of an initialisation."""
    made = program("tests.collectives", JAX_NUM_CPU_DEVICES="8", XLA_FLAGS=QUICK)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize("case", collectives.CASES)
def test_no_collective_moves_the_codes_of_a_batch_or_weights(measured, case, shape):
    found = [collectives.Collective(*each) for each in measured[case][shape]]
    assert found, "eight devices that exchange nothing have not trained together"
    gradients = MESHES[shape][0]  # Devices that have seen different examples for the same latents.
    for each in found:
        assert each.numbers < BATCH * D_SAE, each
        if each.kind != "all-reduce" or each.devices != gradients:
            assert each.numbers < D_SAE * D_IN, each


@pytest.mark.parametrize("shape", [shape for shape, (_, split) in MESHES.items() if split > 1])
def test_parameters_are_made_where_they_will_lie(measured, shape):
    """No device ever holds all rows or all columns."""
    assert D_SAE * D_IN // MESHES[shape][1] in measured["initialisation"][shape]
    assert D_SAE * D_IN not in measured["initialisation"][shape]
