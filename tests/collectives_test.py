"""What moves between devices: never `[batch, d_sae]`, and of weights nothing but their gradient."""

import json

import pytest

from tests import collectives, programs
from tests.collectives import BATCH, D_IN, D_SAE, MESHES


def _measured(program, *arguments):
    made = program(
        "tests.collectives", *arguments, JAX_NUM_CPU_DEVICES="8", XLA_FLAGS=programs.QUICK
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def _refuse_what_is_large(measured, expected):
    assert len(measured["training"]) == expected
    for name, found in measured["training"].items():
        assert found, f"{name}: eight devices that exchange nothing have not trained together"
        of_data = MESHES[name.split()[1]][0]  # Devices with other examples for the same latents.
        for each in (collectives.Collective(*each) for each in found):
            assert each.numbers < BATCH * D_SAE, (name, each)
            if each.kind != "all-reduce" or each.devices != of_data:
                assert each.numbers < D_SAE * D_IN, (name, each)
    for name, sizes in measured["initialisation"].items():
        # No device ever holds the rows or columns of others.
        assert D_SAE * D_IN // MESHES[name][1] in sizes
        assert D_SAE * D_IN not in sizes, name


def test_no_collective_moves_the_codes_of_a_batch_or_weights(program):
    _refuse_what_is_large(_measured(program), len(collectives.MOST))


@pytest.mark.slow
def test_no_collective_moves_more_in_other_cases(program):
    _refuse_what_is_large(_measured(program, "all"), len(collectives.ALL))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%a = f32[40,256]{1,0} all-gather(%x), channel_id=1, replica_groups=[1,8]<=[8], "
            "dimensions={0}",
            [("all-gather", (40, 256), 40 * 256, 8)],
        ),
        (
            "%a = (f32[64]{0}, f32[]) all-reduce(%x, %y), replica_groups={{0,4},{1,5},{2,6},{3,7}}",
            [("all-reduce", (64,), 4 * 64, 2), ("all-reduce", (), 4, 2)],
        ),
        (
            "%a = f32[20,6]{1,0} all-reduce(%x), replica_groups=mesh['axis_0'=4,'axis_1'=2], "
            "device_ids=([2,4]T(1,0)) {'axis_0'}, to_apply=%add",
            [("all-reduce", (20, 6), 2 * 120, 4)],
        ),
        (
            "%a = f32[5]{0} reduce-scatter(%x), replica_groups={{0,1,2,3,4,5,6,7}}",
            [("reduce-scatter", (5,), 40, 8)],
        ),
        (
            "%a = f32[5]{0} collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}",
            [("collective-permute", (5,), 40, 8)],
        ),
        ("%a = f32[5]{0} all-reduce(%x), replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}", []),
        ("%all-gather.1 = f32[5]{0} add(%x, %all-gather.2)", []),
    ],
)
def test_collectives_are_found_in_a_program(line, expected):
    assert collectives.find(line) == expected
