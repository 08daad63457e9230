import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import batch_topk
from sae_jax.models import base, layers, sae
from sae_jax.ops import sparse

PRE = jnp.asarray([[0.5, -1.0, 3.0, 2.0], [-4.0, 1.0, -3.0, -2.0]], jnp.float32)


def _run(pre, stats=None, train=True, **fields):
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(4, bool), train=train
    )
    activation = batch_topk.Activation(**fields)
    rest = context.replace(train=False)
    stats = stats or activation.init(jax.random.key(0), pre, rest)["stats"]
    codes, changed = activation.apply({"stats": stats}, pre, context, mutable=["stats"])
    return codes, changed["stats"]


def test_the_largest_of_the_whole_batch_are_kept():
    codes, _ = _run(PRE, k=1.5)
    np.testing.assert_array_equal(codes, [[0, 0, 3, 2], [0, 1, 0, 0]])


def test_of_what_is_kept_the_negative_becomes_zero():
    codes, _ = _run(PRE, k=3)
    np.testing.assert_array_equal(codes, [[0.5, 0, 3, 2], [0, 1, 0, 0]])


def test_the_threshold_is_the_smallest_kept_of_the_first_batch_and_then_a_moving_mean():
    _, stats = _run(PRE, k=1.5, decay=0.9)
    assert stats["sum"] / stats["weight"] == pytest.approx(1.0)
    _, stats = _run(2 * PRE, stats, k=1.5, decay=0.9)
    expected = (0.9 * 1.0 + 2.0) / 1.9  # Weights 0.1 * 0.9 and 0.1.
    assert stats["sum"] / stats["weight"] == pytest.approx(expected, rel=1e-6)
    codes, same = _run(PRE, stats, train=False, k=1.5, decay=0.9)
    np.testing.assert_array_equal(codes, [[0, 0, 3, 2], [0, 0, 0, 0]])
    assert same == stats


def test_a_batch_in_which_nothing_is_positive_moves_no_threshold():
    _, stats = _run(PRE, k=1.5)
    codes, after = _run(-jnp.abs(PRE), stats, k=1.5)
    assert not codes.any()
    assert after == stats


def test_at_rest_an_example_does_not_depend_on_the_others():
    _, stats = _run(PRE, k=1.5)
    whole, _ = _run(PRE, stats, train=False, k=1.5)
    alone, _ = _run(PRE[:1], stats, train=False, k=1.5)
    np.testing.assert_array_equal(alone, whole[:1])


def test_before_training_every_positive_latent_is_active():
    codes, _ = _run(PRE, train=False, k=1)
    np.testing.assert_array_equal(codes, np.maximum(PRE, 0))


@pytest.mark.parametrize("fields", [dict(k=0), dict(k=-1.0), dict(k=1, decay=1.0)])
def test_fields_that_cannot_be(fields):
    with pytest.raises(ValueError, match="it must be"):
        batch_topk.Activation(**fields)


def test_more_than_there_are_latents_is_refused():
    with pytest.raises(errors.ConfigError, match="config.model.activation.k=99 of"):
        _run(PRE, k=99)


def _step(form, x, rescale):
    """Returns the reconstruction, codes, stats and gradients of an autoencoder of BatchTopK."""
    activation = batch_topk.Activation(k=2.5, form=form)
    model = sae.Model(d_in=6, d_sae=40, activation=activation, rescale=rescale)
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(1), jnp.zeros(40, bool), train=True
    )
    params, stats = base.init(model, jax.random.key(0), x)
    params = {**params, "w_dec": params["w_dec"] * jnp.linspace(0.5, 2.0, 40)[:, None]}

    def loss(params):
        output, changed = base.forward(model, params, stats, x, context)
        return ((output.x_hat - x) ** 2).sum(), (output, changed)

    grads, (output, changed) = jax.jit(jax.grad(loss, has_aux=True))(params)
    return output, changed, grads


@pytest.mark.parametrize("rescale", [False, True])
def test_the_sparse_form_is_the_dense_one(rescale):
    x = jax.random.normal(jax.random.key(2), (16, 6))
    (dense, stats, grads), (few, few_stats, few_grads) = (
        _step(form, x, rescale) for form in ("dense", "sparse")
    )
    assert isinstance(few.codes, types.Codes)
    assert few.codes.values.shape == (16, 10)
    np.testing.assert_allclose(sparse.dense(few.codes), dense.codes, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(few.x_hat, dense.x_hat, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), few_stats, stats)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), few_grads, grads
    )


def test_in_the_sparse_form_no_example_keeps_more_than_four_k():
    context = types.Context(
        jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(32, bool), train=True
    )
    pre = jax.random.uniform(jax.random.key(0), (8, 32)).at[0].add(10.0)
    activation = batch_topk.Activation(k=2, form="sparse")
    stats = activation.init(jax.random.key(0), pre, context.replace(train=False))["stats"]

    def codes(activation, pre):
        return layers.activate(activation, pre, context)

    found, _ = activation.apply({"stats": stats}, pre, method=codes, mutable=["stats"])
    assert (found.values[0] > 0).sum() == 8
    assert (found.values > 0).sum() == 16
