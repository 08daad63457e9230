"""Every config of a paper trains its debug variant: world, steps, calibration, metrics and all."""

import math

import pytest

from experiments import build
from sae_jax.train import checkpoint, evaluate, loop, writer
from tests.contracts.configs_test import CONFIGS

PAPERS = [name for name in CONFIGS if name.startswith("configs.papers.")]
# For each kind of data, remedy and calibration, one that takes it through a run. The others differ
# from these in their world, model or terms, which other tests draw, call and train.
WHOLE = {
    f"configs.papers.{name}"
    for name in (
        *("crosscoder", "ksvd", "sharkey", "sparse_but_wrong", "superposition", "switch"),
        *("towards_monosemanticity", "transcoder", "tree"),
    )
}


def _task(name):
    variant = next(variant for variant in CONFIGS[name].VARIANTS if variant.endswith("debug"))
    return build.task(CONFIGS[name].get_config(variant))


def test_there_are_papers():
    assert len(PAPERS) > 20
    assert set(PAPERS) >= WHOLE


@pytest.mark.parametrize("name", [name for name in PAPERS if name not in WHOLE])
def test_a_paper_can_be_measured(name):
    task = _task(name)
    state = loop.template(task)
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    for evaluation in task.evaluations.values():
        assert evaluator.lowered(evaluation, state).out_info.keys() <= evaluation.metrics.keys()


@pytest.mark.parametrize(
    "name",
    [name if name in WHOLE else pytest.param(name, marks=pytest.mark.slow) for name in PAPERS],
)
def test_a_paper_trains_from_its_data_to_its_numbers(name, tmp_path):
    task = _task(name)
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
