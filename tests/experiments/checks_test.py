"""Settings that cannot work, and those that look as if they will not, on the debug run."""

import pytest

from configs import sparse_mnist
from experiments import build, checks
from sae_jax.train import loop


def _set(config, key, value):
    with config.unlocked():
        config.update_from_flattened_dict({key: value})
    return build.task(config)


@pytest.fixture
def config():
    return sparse_mnist.get_config("debug")


def test_the_main_job_has_no_problem():
    task = build.task(sparse_mnist.get_config())
    assert checks.problems(task) == []
    assert checks.warnings(task, loop.initialise(task, loop.template(task))) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("batch_size", 100_000, "batch_size=100000 does not fit a data set of 512 examples"),
        ("evals.test.batch_size", 0, "config.evals.test.batch_size=0 cannot be split"),
        ("evals.test.batch_size", 6, "config.evals.test.batch_size=6 cannot be split over 4"),
    ],
)
def test_what_cannot_work_is_named(config, key, value, said):
    task = _set(config, key, value)
    assert any(said in line for line in checks.problems(task))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("loss.l1.value", 3600.0, "at the start l1 is"),
        ("optim.constraint", "none", "l1 with decoder rows of any norm"),
        ("dead_after", 10, "dead_after=10 is less than one batch"),
    ],
)
def test_what_looks_wrong_is_named(config, key, value, said):
    task = _set(config, key, value)
    state = loop.initialise(task, loop.template(task))
    assert any(said in line for line in checks.warnings(task, state))
