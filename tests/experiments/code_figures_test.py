"""Pictures of codes and of kernels, from runs whose numbers are made up."""

import types as python_types

from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments.figures import code_map, filters
from sae_jax import types
from sae_jax.data import base


def _run(codes, label):
    spec = base.Spec("made up", "test", (4,))
    data = base.Arrays(spec, np.zeros((len(codes), 4), np.float32), label)

    def first(count):
        return types.Batch(x=data.x[:count], label=None if label is None else label[:count])

    return python_types.SimpleNamespace(
        state=None,
        evaluator=python_types.SimpleNamespace(
            outputs=lambda state, batch: types.Output(batch.x, codes[: batch.size], codes)
        ),
        task=python_types.SimpleNamespace(
            evaluations={"test": python_types.SimpleNamespace(data=data, first=first)}
        ),
    )


RNG = np.random.RandomState(0)
LABEL = RNG.randint(0, 3, 40).astype(np.int32)


def test_codes_of_two_numbers_are_the_points():
    codes = RNG.randn(40, 2).astype(np.float32)
    rows = code_map.rows(_run(codes, LABEL))
    np.testing.assert_array_equal(rows["points"], codes)
    np.testing.assert_array_equal(rows["label"], LABEL)
    assert rows["share"] == 1


@pytest.mark.parametrize("latents", [7, 60], ids=["fewer than examples", "more"])
def test_longer_codes_are_seen_along_their_first_two_components(latents):
    plane, _ = np.linalg.qr(RNG.randn(latents, 2))
    inside = RNG.randn(40, 2) * [3.0, 2.0]
    codes = 5 + inside @ plane.T
    rows = code_map.rows(_run(codes, LABEL))
    assert rows["share"] == pytest.approx(1)

    def distances(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(rows["points"]), distances(inside), atol=1e-4)


@pytest.mark.parametrize("label", [None, np.arange(40, dtype=np.int32)])
def test_without_classes_or_with_too_many_there_is_no_map(label):
    assert code_map.rows(_run(RNG.randn(40, 2), label)) is None


def test_codes_that_are_all_the_same_have_no_map():
    assert code_map.rows(_run(np.ones((40, 3)), LABEL)) is None


def test_a_map_has_a_line_of_points_and_a_name_for_each_class():
    figure = Figure()
    code_map.draw({"points": RNG.randn(40, 2), "label": LABEL, "share": 0.5}, figure)
    (axis,) = figure.axes
    assert [len(line.get_xdata()) for line in axis.lines] == np.bincount(LABEL).tolist()
    assert [text.get_text() for text in axis.texts] == ["0", "1", "2"]
    assert "50 %" in axis.get_title()


def _convolutional(params, image_shape=(8, 8, 1)):
    spec = python_types.SimpleNamespace(image_shape=image_shape)
    return python_types.SimpleNamespace(spec=spec, params=params)


def test_kernels_are_those_next_to_the_picture_whichever_way_they_point():
    into, out = RNG.randn(3, 5, 2, 6), RNG.randn(4, 4, 6, 2)
    run = _convolutional({"enc_0": {"w": into}, "dec_0": {"w": out}}, (8, 8, 2))
    rows = filters.rows(run)
    np.testing.assert_allclose(rows["kernels"]["enc_0"][4], into[:, :, :, 4].mean(axis=-1))
    np.testing.assert_allclose(rows["kernels"]["dec_0"][3], out[:, :, 3].mean(axis=-1))
    figure = Figure()
    filters.draw(rows, figure)
    assert ["6 kernels" in axis.get_title() for axis in figure.axes] == [True, True]


def test_a_sheet_shows_each_kernel_on_its_own_scale():
    images = np.stack([np.full((2, 3), 4.0), np.full((2, 3), -0.1), np.zeros((2, 3))])
    figure = Figure()
    filters.draw({"kernels": {"enc_0": images}}, figure)
    sheet = figure.axes[0].images[0].get_array().filled(np.nan)
    assert sheet.shape == (5, 7)
    np.testing.assert_array_equal(sheet[0], [1, 1, 1, np.nan, -1, -1, -1])
    np.testing.assert_array_equal(sheet[3], [0, 0, 0, *[np.nan] * 4])


@pytest.mark.parametrize(
    "run",
    [
        _convolutional({"w_dec": RNG.randn(4, 64)}),
        _convolutional({"enc_0": {"w": RNG.randn(64, 10)}}),
        _convolutional({"enc_0": {"w": RNG.randn(3, 1, 4)}}, None),
    ],
)
def test_what_has_no_kernels_of_pictures_is_left_out(run):
    assert filters.rows(run) is None
