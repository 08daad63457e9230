"""Pictures of films and of forecasts, from runs whose numbers are made up."""

import types as python_types

from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments.figures import films, forecasts
from sae_jax import types
from sae_jax.data import base


def _run(grid, steps, rows=4):
    """A run that has seen `grid` and predicts up to `steps`; it is right everywhere but for 1."""
    width = int(np.prod(grid[1:]))
    y = np.random.RandomState(0).rand(rows, steps * width).astype(np.float32)
    x = y[:, : grid[0] * width]
    spec = base.Spec("made up", "test", x.shape[1:], grid, y.shape[1:])
    data = base.Arrays(spec, x, y=y)

    def outputs(state, batch):
        del state
        codes = np.zeros((len(batch.x), 1))
        return types.Output(np.asarray(batch.target) + 1, codes, codes)

    return python_types.SimpleNamespace(
        spec=spec,
        input=x,
        target=y,
        output=outputs(None, types.Batch(x=x, y=y)),
        state=None,
        evaluator=python_types.SimpleNamespace(outputs=outputs),
        task=python_types.SimpleNamespace(
            evaluations={"test": python_types.SimpleNamespace(data=data)}
        ),
    )


def test_films_are_laid_out_frame_by_frame_and_the_last_one_seen_is_copied():
    run = _run((3, 4, 5, 2), 7)
    rows = films.rows(run)
    truth, model, copy = (rows["films"][name] for name in ("truth", "model", "copy last"))
    assert rows["seen"] == 3
    assert truth.shape == (3, 7, 4, 5)
    np.testing.assert_allclose(truth[1, 2, 3, 4], run.target[1].reshape(7, 4, 5, 2)[2, 3, 4].mean())
    np.testing.assert_allclose(model, truth + 1, rtol=1e-6)
    np.testing.assert_array_equal(copy[:, :3], truth[:, :3])
    for t in range(3, 7):
        np.testing.assert_array_equal(copy[:, t], truth[:, 2])


def test_a_film_without_a_future_has_nothing_to_copy():
    assert [*films.rows(_run((3, 4, 5, 1), 3))["films"]] == ["truth", "model"]


def test_forecasts_are_series_of_windows_from_everywhere():
    run = _run((5, 2), 8, rows=40)
    rows = forecasts.rows(run)
    np.testing.assert_array_equal(rows["window"], [0, 7, 15, 23, 31, 39])
    np.testing.assert_allclose(rows["truth"], run.target.reshape(40, 8, 2)[rows["window"], :, 0])
    np.testing.assert_allclose(rows["model"], rows["truth"] + 1, rtol=1e-6)
    assert rows["seen"] == 5


@pytest.mark.parametrize(
    ("picture", "run", "has_sense"),
    [
        (films, _run((3, 4, 5, 1), 5), True),
        (films, _run((5, 1), 8), False),
        (forecasts, _run((5, 1), 8), True),
        (forecasts, _run((5, 1), 5), False),
        (forecasts, _run((3, 4, 5, 1), 5), False),
    ],
)
def test_they_are_drawn_where_they_make_sense(picture, run, has_sense):
    rows = picture.rows(run)
    assert (rows is not None) == has_sense
    if has_sense:
        figure = Figure(figsize=picture.SIZE, layout="constrained")
        picture.draw(rows, figure)
        figure.canvas.draw()
        lines = sum(len(axis.lines) + len(axis.images) for axis in figure.axes)
        assert lines >= len(figure.axes) > 0
