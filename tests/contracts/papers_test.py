"""Every config of a paper trains its debug variant: world, steps, calibration, metrics and all."""

import math

import pytest

from experiments import build
from sae_jax.train import checkpoint, loop, writer
from tests.contracts.configs_test import CONFIGS

PAPERS = [name for name in CONFIGS if name.startswith("configs.papers.")]


def test_there_are_papers():
    assert len(PAPERS) > 20


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_trains_from_its_data_to_its_numbers(name, tmp_path):
    variant = next(variant for variant in CONFIGS[name].VARIANTS if variant.endswith("debug"))
    task = build.task(CONFIGS[name].get_config(variant))
    state = loop.initialise(task, loop.template(task))
    checkpoints = checkpoint.Checkpoints(tmp_path)
    state, totals = loop.train(task, state, checkpoints, writer.Silent())
    checkpoints.close()
    assert int(state.step) == task.plan.num_steps
    assert checkpoint.Checkpoints(tmp_path).steps()[-1] == task.plan.num_steps
    numbers = loop.finish(task, totals)
    assert {key.split("/")[0] for key in numbers} == set(task.evaluations)
    for key, value in numbers.items():
        assert math.isfinite(value), key
