"""A block of latents at a time against all at once: what is chosen, values, gradients, memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import abs_topk, batch_topk, topk
from sae_jax.losses import budgets, dead
from sae_jax.models import sae
from sae_jax.ops import blocked, linear, sparse
from tests import jitted

SLOW = pytest.mark.slow  # What others of its kind show as well.
BATCH, D_IN, D_SAE = 8, 5, 22
RNG = np.random.default_rng(0)
NAMES = ("x", "centre", "w_enc", "b_enc")


def _parts(whole_numbers):
    """What pre-activations are made of; of whole numbers many of them are equal, and exactly so."""
    draw = (lambda *s: RNG.integers(-1, 2, s)) if whole_numbers else RNG.standard_normal
    shapes = ((BATCH, D_IN), (D_IN,), (D_IN, D_SAE), (D_SAE,))
    return [jnp.asarray(draw(*s) if whole_numbers else draw(s), jnp.float32) for s in shapes]


def _dense(parts):
    return types.Pre(linear.encode(*parts), *parts)


@pytest.mark.parametrize("blocks", [2, 3, 7, 22])
@pytest.mark.parametrize("k", [1, 4, 12, 22])
@pytest.mark.parametrize("of", [lambda pre: pre, jnp.abs], ids=["topk", "abs_topk"])
def test_the_same_are_chosen_and_of_equals_the_first(blocks, k, of):
    parts = _parts(whole_numbers=True)
    dense = np.asarray(linear.encode(*parts))
    assert all(len(np.unique(of(row))) < D_SAE for row in dense)  # There are equals.
    indices = jax.lax.top_k(of(dense), k)[1]
    values, found, _ = jax.jit(blocked.top_k, static_argnums=(1, 2))(
        types.Pre(None, *parts, blocks), k, blocked.Score(of)
    )
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_array_equal(values, np.take_along_axis(dense, np.asarray(indices), axis=1))


@pytest.mark.parametrize("wanted", range(4), ids=NAMES)
def test_the_gradient_is_that_of_all_at_once(wanted):
    parts, weight = _parts(whole_numbers=False), jnp.asarray(RNG.standard_normal((BATCH, 4)))

    def loss(value, blocks):
        given = [*parts[:wanted], value, *parts[wanted + 1 :]]
        if blocks > 1:
            values = blocked.top_k(types.Pre(None, *given, blocks), 4)[0]
        else:
            pre = linear.encode(*given)
            values = jnp.take_along_axis(pre, jax.lax.top_k(pre, 4)[1], axis=1)
        return (values**2 * weight).sum()

    slope = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    found, expected = (slope(parts[wanted], blocks) for blocks in (3, 1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_where_fewer_than_k_count_the_rest_are_the_first_of_the_others():
    parts, alive = _parts(whole_numbers=True), jnp.arange(D_SAE) % 7 == 3
    score = blocked.Score(among=alive)
    _, found, _ = blocked.top_k(types.Pre(None, *parts, 4), 6, score)
    expected = jax.lax.top_k(jnp.where(alive[None], linear.encode(*parts), -jnp.inf), 6)[1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("k", "relu"), [(2, True), (9, False)])
def test_dead_latents_are_helped_alike(k, relu):
    parts = dict(zip(NAMES, _parts(whole_numbers=False), strict=True))
    params = {"w_dec": jnp.asarray(RNG.standard_normal((D_SAE, D_IN)), jnp.float32), **parts}
    batch = types.Batch(x=parts["x"])
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.arange(D_SAE) % 3 == 0, train=True
    )

    def term(params, blocks):
        given = [params[name] for name in NAMES]
        pre = types.Pre(None, *given, blocks) if blocks > 1 else _dense(given)
        output = types.Output(jnp.zeros_like(batch.x), jnp.zeros((BATCH, D_SAE)), pre)
        return dead.auxk(params, batch, output, context, k=k, relu=relu).sum()

    found, expected = (
        jax.jit(jax.value_and_grad(term), static_argnums=1)(params, b) for b in (4, 1)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def _model(blocks, activation=None, **fields):
    activation = activation or topk.Activation(k=3, relu=True, form="sparse")
    return sae.Model(D_IN, D_SAE, activation, blocks=blocks, **fields)


@pytest.mark.parametrize(
    ("of", "fields"),
    [
        (topk.Activation, {}),
        (topk.Activation, dict(rescale=True)),
        (topk.Activation, dict(tied=True)),
        (abs_topk.Activation, {}),
        pytest.param(abs_topk.Activation, dict(rescale=True), marks=SLOW),
        pytest.param(abs_topk.Activation, dict(tied=True), marks=SLOW),
    ],
    ids=str,
)
def test_a_model_trains_as_it_does_all_at_once(of, fields):
    models = [_model(blocks, of(k=3, form="sparse"), **fields) for blocks in (1, 5)]
    x = jnp.asarray(RNG.standard_normal((BATCH, D_IN)), jnp.float32)
    params, stats = jitted.init(models[0], jax.random.key(0), x)
    params["w_dec"] *= 1 + jnp.arange(D_SAE)[:, None] % 4
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool), train=True
    )

    def loss(params, model):
        output = jitted.forward(model, params, stats, x, context)[0]
        more = budgets.multi_topk(params, types.Batch(x=x), output, context, k=7)
        return ((output.x_hat - x) ** 2).sum() + more.sum(), output.codes

    def run(model):
        return jax.jit(jax.value_and_grad(lambda p: loss(p, model), has_aux=True))(params)

    ((value, codes), grads), ((expected, kept), slopes) = map(run, models)
    np.testing.assert_array_equal(codes.indices, kept.indices)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, slopes)
    at_rest = jitted.forward(models[1], params, stats, x, dataclasses.replace(context, train=False))
    assert at_rest[0].pre.shape == (BATCH, D_SAE)


def test_no_array_of_all_pre_activations_is_ever_in_memory():
    batch, d_in, d_sae, k = 256, 16, 8192, 8
    shapes = ((batch, d_in), (d_in,), (d_in, d_sae), (d_sae,), (d_sae, d_in))

    def loss(x, centre, w_enc, b_enc, w_dec, blocks):
        pre = types.Pre(None, x, centre, w_enc, b_enc, blocks)
        values, indices, _ = blocked.top_k(pre, k)
        return ((sparse.decode(values, indices, w_dec) - x) ** 2).sum()

    def bytes_for(blocks):
        grad = jax.jit(jax.grad(loss, (2, 3, 4)), static_argnums=5)
        given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        return grad.lower(*given, blocks).compile().memory_analysis().temp_size_in_bytes

    whole = batch * d_sae * 4
    assert bytes_for(16) < whole / 2 < whole < bytes_for(1)


def test_the_number_of_blocks_follows_from_the_sizes():
    assert blocked.count(4096, 65_536) == 1
    assert blocked.count(4096, 65_537) == 9
    assert blocked.count(4096, 2**19) == 64


def test_what_needs_all_pre_activations_at_once_says_so():
    pre = types.Pre(None, *_parts(whole_numbers=False), 4)
    for of in (sparse.all_of, lambda pre: sparse.take(pre, jnp.zeros((BATCH, 1), jnp.int32))):
        with pytest.raises(errors.NotAtOnceError, match="in 4 blocks: set config.model.blocks=1"):
            of(pre)


@pytest.mark.parametrize(
    "activation",
    [
        batch_topk.Activation(k=3),
        topk.Activation(k=3, form="dense"),
        topk.Activation(k=lambda step: jnp.asarray(3.0)),
    ],
    ids=["another", "dense", "schedule"],
)
def test_what_compares_all_latents_is_refused(activation):
    with pytest.raises(ValueError, match="blocks=4: only topk and abs_topk"):
        _model(4, activation)
    _model(0, activation)


def test_blocks_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="blocks=-1: it must be 1 or more"):
        _model(-1)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "score",
    [
        blocked.Score(),
        blocked.Score(jnp.abs, by=jnp.arange(512) % 5 + 1.0),
        blocked.Score(among=jnp.arange(512) % 9 == 2),
    ],
    ids=["topk", "abs_topk, rescaled", "of some"],
)
def test_a_kernel_that_looks_for_the_largest_of_groups_finds_the_same(score, compute):
    rng = np.random.default_rng(0)
    # Whole numbers, whose products are exact in any order, and of which many are equal.
    centred, weights, biases = (
        jnp.asarray(rng.integers(-2, 3, shape), jnp.float32) for shape in ((64, 32), (32, 256), 256)
    )
    latents = jnp.arange(200, 456, dtype=jnp.int32)
    given = (centred, weights, biases, latents, latents >= 203)
    expected = blocked._best_of_products(7, score, compute, *given)
    found = blocked._best_of_groups(7, score, compute, 8, *given, interpret=True)
    for mine, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, wanted)
