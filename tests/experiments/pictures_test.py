"""What is for pictures alone is told what a picture is, and refuses data that are none."""

import numpy as np
import pytest

from configs import denoising_mnist
from experiments import build
from sae_jax import errors
from sae_jax.data import base


def _task(monkeypatch, grid, variant="", target=None):
    def data(group):
        x = np.random.RandomState(0).rand(512, 784).astype(np.float32)
        spec = base.Spec(group["name"], group["split"], (784,), grid, target)
        return base.Arrays(spec, x, y=None if target is None else x)

    monkeypatch.setattr(build, "data", data)
    return build.task(denoising_mnist.get_config(variant))


def test_ssim_and_corruptions_are_told_the_grid_of_the_data(monkeypatch):
    task = _task(monkeypatch, (14, 56, 1), "patch")
    evaluation = task.evaluations["test"]
    assert evaluation.metrics["ssim"].sums.keywords == dict(grid=(14, 56, 1))
    assert task.method.corruption.grid == evaluation.corruption.grid == (14, 56, 1)


def test_targets_that_are_no_examples_are_no_pictures_of_that_grid(monkeypatch):
    task = _task(monkeypatch, (14, 56, 1), "masking", target=(784,))
    assert task.evaluations["test"].metrics["ssim"].sums.keywords == dict(grid=None)


@pytest.mark.parametrize("variant", ["blur", "patch"])
def test_a_corruption_of_pictures_refuses_other_data_in_one_line(monkeypatch, variant):
    with pytest.raises(errors.UserError, match=f"config.corruption: {variant} needs pictures"):
        _task(monkeypatch, None, variant)
