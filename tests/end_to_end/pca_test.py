"""PCA on MNIST by the project's own data and metrics, and the autoencoder whose optimum it is."""

import dataclasses

import jax
from jax.sharding import AxisType
import numpy as np
import pytest

from configs import linear_mnist
from experiments import build
from sae_jax.train import checkpoint, evaluate, loop, step, writer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task() -> loop.Task:
    grid = jax.make_mesh(
        (1, 1), ("data", "dictionary"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:1]
    )
    return dataclasses.replace(build.task(linear_mnist.get_config()), mesh=grid)


def _mse(task: loop.Task, state: step.State) -> dict[str, float]:
    evaluator = evaluate.Evaluator(task.method, task.mesh)
    return {
        name: evaluate.finish(evaluation, evaluator.totals(evaluation, state))["mse_sum"]
        for name, evaluation in task.evaluations.items()
    }


@pytest.fixture(scope="module")
def pca(task: loop.Task) -> dict[str, float]:
    """Squared error per image of PCA with 30 components, as the linear autoencoder it is."""
    x = task.data.x.astype(np.float64) / 255
    mean = x.mean(axis=0)
    _, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    components = vectors[:, -30:].T.astype(np.float32)
    state = loop.initialise(task, loop.template(task))
    params = {
        "w_enc": components.T,
        "w_dec": components,
        "b_enc": np.zeros(30, np.float32),
        "b_dec": mean.astype(np.float32),
    }
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, state.params)
    return _mse(task, dataclasses.replace(state, params=params))


def test_pca_with_30_components_has_the_published_error(pca):
    """Hinton & Salakhutdinov 2006, Figure 3: 13.87 squared error per test image."""
    assert pca["test"] == pytest.approx(13.87, abs=0.005)


def test_a_linear_autoencoder_comes_to_pca_and_not_below(task, pca, tmp_path):
    state = loop.initialise(task, loop.template(task))
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints")
    state, _ = loop.train(task, state, checkpoints, writer.Silent())
    checkpoints.close()
    trained = _mse(task, state)
    assert trained["test"] == pytest.approx(pca["test"], rel=0.01)
    assert trained["train_split"] == pytest.approx(pca["train_split"], rel=0.01)
    # The tolerance is float32's, in which both errors are summed.
    assert trained["train_split"] >= pca["train_split"] * (1 - 1e-6)
