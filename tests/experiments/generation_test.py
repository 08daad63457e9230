"""Pictures of what a model can make, from runs that were never trained."""

import dataclasses
import functools
import io
from pathlib import Path
import types

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import pytest

from experiments import figures
from experiments.figures import interpolation, manifold, samples, traversals
from sae_jax.activations import identity
from sae_jax.data import base
from sae_jax.models import archetypal, base as models, mlp, vae, vq
from sae_jax.ops import normalise
from sae_jax.types import Context

GRID, D_IN, COUNT = (4, 3, 1), 12, 14


@functools.cache
def _params(model):
    init = functools.partial(models.init, model)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.ones((32, D_IN)))
    rng = np.random.RandomState(2)
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.randn(*leaf.shape), "f4"), shapes)


_forward = jax.jit(models.forward, static_argnums=0)


def _vae(d_sae=5, **kwargs):
    return vae.Model(d_in=D_IN, d_sae=d_sae, hidden=(6,), **kwargs)


def _run(model, grid=GRID, normaliser=None, fitted=None, totals=None):
    params, stats = _params(model)
    x = np.random.RandomState(0).rand(COUNT, D_IN).astype(np.float32)
    normaliser, fitted = normaliser or normalise.Unchanged(), fitted or {}
    scale = normaliser.scale(fitted, jnp.asarray(x))
    seen = scale.enter(jnp.asarray(x))
    context = Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros((), bool))
    output, _ = _forward(model, params, stats, seen, context)
    method = types.SimpleNamespace(model=model, normaliser=normaliser)
    data = base.Arrays(base.Spec("made up", "test", (D_IN,), grid), x)
    return figures.Run(
        folder=Path("nowhere"),
        task=types.SimpleNamespace(method=method, data=data),
        state=types.SimpleNamespace(normaliser=fitted),
        params=params,
        stats=stats,
        totals={} if totals is None else {"test": totals},
        input=x,
        target=x,
        output=dataclasses.replace(output, x_hat=np.asarray(scale.leave(output.x_hat))),
        evaluator=None,
    )


def _drawn(module, rows):
    """Returns the bytes of the picture."""
    figure = Figure(figsize=module.SIZE, layout="constrained")
    module.draw(rows, figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def _totals(codes):
    return {
        "active_units": {
            "n": np.float64(len(codes)),
            "codes": codes.sum(axis=0),
            "codes2": (codes**2).sum(axis=0),
        }
    }


@pytest.mark.parametrize(
    ("normaliser", "fitted"),
    [
        (normalise.Unchanged(), {}),
        (normalise.MeanNorm(), {"mean": np.full(D_IN, 0.3, np.float32), "scale": np.float32(4)}),
        (normalise.Example(), {}),
    ],
)
def test_a_code_is_decoded_into_the_scale_of_the_data(normaliser, fitted):
    fitted = jax.tree.map(jnp.asarray, fitted)
    run = _run(_vae(output="identity"), normaliser=normaliser, fitted=fitted)
    np.testing.assert_allclose(run.decode(run.output.codes, run.input), run.output.x_hat, atol=1e-5)


def test_a_code_is_decoded_with_what_lies_in_the_stats():
    run = _run(archetypal.Model(D_IN, 5, identity.Activation(), points=4))
    found = run.decode(run.output.codes, run.input)
    np.testing.assert_allclose(found, run.output.x_hat, rtol=1e-4, atol=1e-4)


def test_samples_are_decoded_from_the_prior():
    run = _run(_vae())
    images = samples.rows(run)["images"]
    assert images.shape == (144, *GRID)
    z = np.asarray(jax.random.normal(jax.random.key(0), (144, 5)))
    np.testing.assert_allclose(images.reshape(144, -1), run.decode(z, run.input[:1]), atol=1e-6)
    assert _drawn(samples, {"images": images}) != _drawn(samples, {"images": 1 - images**2})


def test_interpolations_begin_and_end_at_reconstructions():
    run = _run(_vae())
    images = interpolation.rows(run)["images"]
    assert images.shape == (7, 11, *GRID)
    flat = images.reshape(7, 11, D_IN)
    np.testing.assert_array_equal(flat[:, 0], run.input[::2])
    np.testing.assert_array_equal(flat[:, -1], run.input[1::2])
    np.testing.assert_allclose(flat[:, 1], run.output.x_hat[::2], atol=1e-5)
    np.testing.assert_allclose(flat[:, -2], run.output.x_hat[1::2], atol=1e-5)
    middle = run.output.codes[::2] / 2 + run.output.codes[1::2] / 2
    np.testing.assert_allclose(flat[:, 5], run.decode(middle, run.input[:1]), atol=1e-5)
    assert len(_drawn(interpolation, {"images": images})) > 1000


def test_traversals_move_the_latents_that_vary_most():
    codes = np.random.RandomState(1).randn(500, 5) * [0.1, 3.0, 0.0, 1.0, 2.0] + 0.5
    run = _run(_vae(), totals=_totals(codes))
    rows = traversals.rows(run)
    np.testing.assert_array_equal(rows["units"], [1, 4, 3, 0, 2])
    np.testing.assert_allclose(rows["variance"], codes.var(axis=0)[[1, 4, 3, 0, 2]], atol=1e-6)
    assert rows["images"].shape == (5, 7, *GRID)
    moved = np.asarray(run.output.codes[0]).copy()
    moved[4] = codes[:, 4].mean() - 2 * codes[:, 4].std()
    expected = run.decode(moved[None], run.input[:1])[0]
    np.testing.assert_allclose(rows["images"][1, 1].ravel(), expected, atol=1e-5)
    assert len(_drawn(traversals, rows)) > 1000


def test_a_code_of_two_numbers_is_a_plane_of_pictures():
    run = _run(_vae(d_sae=2))
    rows = manifold.rows(run)
    assert rows["images"].shape == (400, *GRID)
    np.testing.assert_allclose(rows["places"][[0, -1], 0], [-1.96, 1.96], atol=0.01)
    top_right = rows["places"][[-1], [0, 1]].astype(np.float32)[None]
    expected = run.decode(top_right, run.input[:1])[0]
    np.testing.assert_allclose(rows["images"][19].ravel(), expected, atol=1e-5)
    assert len(_drawn(manifold, rows)) > 1000


def test_a_plane_without_a_prior_is_where_codes_lie():
    model = mlp.Model(d_in=D_IN, d_out=D_IN, d_sae=2, activation=identity.Activation())
    run = _run(model)
    places, codes = manifold.rows(run)["places"], np.asarray(run.output.codes)
    np.testing.assert_allclose(places[[0, -1]], [codes.min(axis=0), codes.max(axis=0)], rtol=1e-6)


def test_what_cannot_be_made_is_not_drawn():
    quantised = vq.Model(d_in=D_IN, d_sae=6, grid=GRID, width=2, channels=(3,), blocks=0)
    codes = np.random.RandomState(0).rand(20, 6)
    cannot = {
        "no decoder of codes alone": _run(quantised, totals=_totals(codes)),
        "no pictures": _run(_vae(d_sae=2), grid=None, totals=_totals(codes[:, :2])),
    }
    for why, run in cannot.items():
        for picture in (samples, interpolation, traversals, manifold):
            assert picture.rows(run) is None, f"{picture.__name__}: {why}"
    plain = mlp.Model(d_in=D_IN, d_out=D_IN, d_sae=3, activation=identity.Activation())
    assert samples.rows(_run(plain)) is None, "no prior"
    assert traversals.rows(_run(plain)) is None, "no variances"
    assert manifold.rows(_run(plain)) is None, "three latents"
    assert interpolation.rows(_run(plain)) is not None


def test_a_sheet_reads_like_text_with_gaps_between():
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1)
    sheet = figures.sheet(images, 3, gap=1)
    assert sheet.shape == (5, 11)
    np.testing.assert_array_equal(sheet[:2, 4:7], images[1, ..., 0])
    np.testing.assert_array_equal(sheet[3:, 4:7], images[4, ..., 0])
    for gap in (sheet[2], sheet[:, [3, 7]], sheet[3:, 8:]):
        assert np.isnan(gap).all()
    assert figures.sheet(np.ones((2, 4, 4, 3)), 2).shape == (4, 10, 3)
