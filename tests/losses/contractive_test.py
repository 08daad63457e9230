import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import identity, relu, sigmoid
from sae_jax.losses import contractive
from sae_jax.models import base, mlp, sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step

D_IN = 5
LAYERS = {
    "sae": sae.Model(D_IN, 9, sigmoid.Activation(), output="sigmoid", pre_bias=False),
    "sae_tied": sae.Model(D_IN, 3, sigmoid.Activation(), tied=True, bias="mean"),
    "mlp_tied": mlp.Model(D_IN, D_IN, 7, sigmoid.Activation(), tied=True),
}
OTHERS = {
    "relu": sae.Model(D_IN, 3, relu.Activation()),
    "identity": sae.Model(D_IN, 3, identity.Activation()),
    "deep": mlp.Model(D_IN, D_IN, 3, sigmoid.Activation(), hidden=(4,)),
}

every_layer = pytest.mark.parametrize("name", LAYERS)


def _x(rows=4):
    return jnp.asarray(np.random.RandomState(0).rand(rows, D_IN), jnp.float32)


def _context(seed=0):
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(seed),
        dead=jnp.zeros((), bool),
        train=True,
    )


@functools.cache
def _params(model):
    params, _ = base.init(model, jax.random.key(0), _x())
    rng = np.random.RandomState(1)
    return jax.tree.map(lambda leaf: leaf + 0.5 * rng.randn(*leaf.shape).astype("f"), params)


@functools.partial(jax.jit, static_argnames=("term", "model", "sigma", "samples"))
def _value(term, model, params, x, seed=0, **knobs):
    """One term for one batch, as a training step takes it."""
    context = _context(seed)
    output, _ = base.forward(model, params, {}, x, context)
    term = base.supply(functools.partial(term, **knobs), base.bind(model, params, {}, context))
    return term(params, types.Batch(x=x), output, context)


@functools.partial(jax.jit, static_argnames="model")
def _jacobians(model, params, x):
    """`[rows, d_sae, d_in]`, row by row, by reverse-mode autodiff."""

    def codes(row):
        return base.forward(model, params, {}, row[None], _context())[0].codes[0]

    return jax.vmap(jax.jacrev(codes))(x)


@every_layer
def test_the_closed_form_is_the_norm_of_the_whole_jacobian(name):
    model = LAYERS[name]
    found = _value(contractive.contractive, model, _params(model), _x())
    expected = (_jacobians(model, _params(model), _x()) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["sae", "relu", "deep"])
def test_the_jacobian_of_any_encoder_is_exact_without_samples(name):
    model = (LAYERS | OTHERS)[name]
    found = _value(contractive.jacobian, model, _params(model), _x(), samples=0)
    expected = (_jacobians(model, _params(model), _x()) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_samples_of_the_jacobian_are_drawn_for_each_example_at_each_step():
    """Five times the same example: the exact norms are equal, the estimates are not."""
    model, x = LAYERS["mlp_tied"], jnp.repeat(_x(1), 5, axis=0)
    first, again, other = (
        np.asarray(_value(contractive.jacobian, model, _params(model), x, seed, samples=2))
        for seed in (0, 0, 1)
    )
    assert len(set(first)) == 5
    np.testing.assert_array_equal(first, again)
    assert not set(first) & set(other)


@every_layer
def test_the_hessian_term_is_the_change_of_the_jacobian(name):
    """With the noise that the term drew, found again from its key."""
    model, x = LAYERS[name], _x()
    found = _value(contractive.contractive_hessian, model, _params(model), x, sigma=0.3, samples=2)
    keys = jax.random.split(jax.random.fold_in(_context().key, contractive._NOISE), 2)
    moved = [x + 0.3 * jax.random.normal(key, x.shape) for key in keys]
    here = _jacobians(model, _params(model), x)
    change = [(_jacobians(model, _params(model), there) - here) for there in moved]
    np.testing.assert_allclose(found, (np.stack(change) ** 2).sum((2, 3)).mean(0), rtol=1e-4)


def test_the_hessian_term_goes_as_sigma_squared():
    model = LAYERS["sae"]
    small, double = (
        _value(contractive.contractive_hessian, model, _params(model), _x(), sigma=sigma)
        for sigma in (0.01, 0.02)
    )
    np.testing.assert_allclose(double / small, 4, rtol=0.05)


@pytest.mark.parametrize(
    ("term", "knobs"),
    [
        (contractive.contractive, {}),
        (contractive.contractive_hessian, dict(sigma=0.3, samples=2)),
        (contractive.jacobian, dict(samples=0)),
        (contractive.jacobian, dict(samples=2)),
    ],
    ids=["contractive", "hessian", "jacobian", "estimate"],
)
def test_gradients_are_finite_differences(term, knobs):
    model = LAYERS["sae_tied"]
    single = _params(model)
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.RandomState(0).rand(2, D_IN))
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), single)

        @jax.jit
        def mean(params):
            return _value(term, model, params, x, **knobs).mean()

        check_grads(mean, (params,), 1, ["rev"], 1e-5, 1e-5, 1e-5)


@pytest.mark.parametrize("term", [contractive.contractive, contractive.contractive_hessian])
@pytest.mark.parametrize("name", OTHERS)
def test_an_encoder_that_is_no_sigmoid_layer_is_refused_in_one_line(term, name):
    model = OTHERS[name]
    with pytest.raises(errors.UserError, match="^it is for .*loss.jacobian") as error:
        jax.eval_shape(functools.partial(_value, term, model), _params(model), _x())
    assert "\n" not in str(error.value)


def test_a_model_without_activation_is_refused():
    model = LAYERS["sae"]
    bound = types.Bound(lambda x: x, lambda *_: (_ for _ in ()).throw(ValueError("has none")))
    output, _ = base.forward(model, _params(model), {}, _x(), _context())
    with pytest.raises(errors.UserError, match="one layer of sigmoids"):
        contractive.contractive(
            _params(model), types.Batch(x=_x()), output, _context(), model=bound
        )


def test_training_lowers_the_penalties():
    terms = (contractive.contractive, contractive.contractive_hessian, contractive.jacobian)
    method = step.Method(
        model=LAYERS["sae_tied"],
        terms={term.__name__: step.Term(term, 1.0) for term in terms},
        optimizer=optimizers.adam(lambda step: 0.05),
        project=lambda params: params,
        learning_rate=0.05,
        normaliser=normalise.Unchanged(),
        dead_after=10,
    )
    state = jax.jit(lambda x: step.init(method, 0, {}, x))(_x())
    state = dataclasses.replace(state, params=_params(method.model))
    take = jax.jit(step.make(method))
    rows = []
    for _ in range(40):
        state, metrics = take(state, types.Batch(x=_x()))
        rows.append(metrics)
    for term in terms:
        losses = [float(row[f"loss/{term.__name__}"]) for row in rows]
        assert losses[-1] < 0.3 * losses[0], term.__name__
