"""Every loss term, found by name."""

import dataclasses
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build
from sae_jax import errors, losses, types
from sae_jax.models import base
from tests import jitted, variants

ROWS, D_IN, D_SAE = 8, 4, 6
ALL = build.losses_by_name()


def _call(name, *args):
    assert name == "activation", f"a model of this test has no {name}"
    return jax.nn.sigmoid(args[0])


def _alone(of):
    """Returns a term that takes what all take; one that asks for a model is given a small one."""

    def term(params, batch, output, context):
        if of.__module__.endswith(".jumps"):
            moved = params["b_enc"] - jax.lax.stop_gradient(params["b_enc"])
            params = {**params, "activation": {"threshold": THRESHOLDS + moved}}
        bound = types.Bound(
            lambda x: jax.nn.sigmoid(x @ params["w_enc"] + params["b_enc"][None]), _call
        )
        return base.supply(of, bound)(params, batch, output, context)

    return term


# So close to the first example's pre-activations that a narrow kernel feels them.
THRESHOLDS = jnp.full(D_SAE, 0.5)

TERMS = {name: jax.jit(_alone(of)) for name, of in ALL.items()}

every_term = pytest.mark.parametrize("name", TERMS)


def _inputs(rows=ROWS, mask=None):
    """Parameters, batch, output and context; codes are between 0 and 1, which suits every term."""
    rng = np.random.RandomState(0)

    def array(*shape):
        return jnp.asarray(rng.rand(ROWS, *shape)[:rows], jnp.float32)

    params = {
        "w_enc": jnp.asarray(rng.randn(D_IN, D_SAE), jnp.float32),
        "w_dec": jnp.asarray(rng.randn(D_SAE, D_IN), jnp.float32),
        "b_enc": jnp.asarray(rng.randn(D_SAE), jnp.float32),
        "b_dec": jnp.asarray(rng.randn(D_IN), jnp.float32),
    }
    batch = types.Batch(x=array(D_IN), mask=mask)
    extras = {
        "logits": array(D_IN),
        "layer_input": (array(D_IN), array(3)),
        "layer_output": (array(D_IN), array(3)),
        "mean": array(D_SAE),
        "log_var": array(D_SAE),
        "decoded": array(3, D_IN),
        "log_ratio": array(3),
        "encoded": array(3, 2),
        "quantised": array(3, 2),
        "router": array(3),
        "shared": jnp.ones(D_SAE),
    }
    pre = array(D_SAE).at[0].set(0.5 + 1e-4)
    output = types.Output(x_hat=array(D_IN), codes=array(D_SAE), pre=pre, extras=extras)
    context = types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        dead=jnp.arange(D_SAE) % 2 == 0,
        train=True,
    )
    return params, batch, output, context


def test_every_file_adds_a_term_and_no_two_files_the_same():
    files = [info.name for info in pkgutil.iter_modules(losses.__path__)]
    named = [set(build._functions(importlib.import_module(f"sae_jax.losses.{f}"))) for f in files]
    assert all(named), files
    assert sum(map(len, named)) == len(TERMS)


@every_term
def test_it_is_a_finite_number_for_each_example(name):
    got = TERMS[name](*_inputs())
    assert (got.shape, got.dtype) == ((ROWS,), jnp.float32)
    assert np.isfinite(got).all()


@every_term
def test_it_has_a_gradient(name):
    params, batch, output, context = _inputs()

    def mean(params, output):
        return TERMS[name](params, batch, output, context).mean()

    found = jax.jit(jax.grad(mean, (0, 1)))(params, output)
    slopes = [np.asarray(leaf) for leaf in jax.tree.leaves(found)]
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert max(np.abs(slope).max() for slope in slopes) > 1e-3


@every_term
def test_it_takes_what_all_take_and_knobs_by_keyword(name):
    parameters = list(inspect.signature(ALL[name]).parameters.values())
    assert [p.name for p in parameters[:4]] == ["params", "batch", "output", "context"]
    assert all(p.default is inspect.Parameter.empty for p in parameters[:4])
    for knob in parameters[4:]:
        assert knob.kind is inspect.Parameter.KEYWORD_ONLY
        if knob.name == "model":
            continue
        assert knob.default is not inspect.Parameter.empty, f"{knob.name} has no default"
        assert f"{knob.name}:" in inspect.getdoc(ALL[name]), f"{knob.name} is not explained"


@every_term
def test_padding_does_not_change_other_rows(name):
    mask = jnp.asarray([1.0] * 5 + [0.0] * 3)
    params, batch, output, context = _inputs(mask=mask)
    spoilt = jax.tree.map(lambda leaf: leaf.at[5:].set(0.77), output)
    before = TERMS[name](params, batch, output, context)[:5]
    after = TERMS[name](params, batch, spoilt, context)[:5]
    alone = TERMS[name](*_inputs(rows=5))
    np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(alone, before, rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "activation"),
    [("sae", "topk_sparse"), ("mlp_deep", "relu"), ("mlp_tied", "relu"), ("conv_pooled", "relu")]
    + [("clt", "relu"), ("switch", None), ("vae", None), ("vq", None)],
)
def test_it_is_a_number_for_each_example_of_any_model_or_says_what_to_set(variant, activation):
    model = variants.model(variant, activation)
    x = jnp.ones((ROWS, variants.D_IN))
    params, stats = jitted.init(model, jax.random.key(0), x)
    context = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros((), bool), True)
    output, _ = jax.eval_shape(
        lambda params: base.forward(model, params, stats, x, context), params
    )
    context = dataclasses.replace(context, dead=jnp.zeros(output.codes.shape[-1], bool))

    def shape(of):
        def term(params, output):
            bound = base.bind(model, params, stats, context)
            return base.supply(of, bound)(params, types.Batch(x), output, context)

        try:
            return jax.eval_shape(term, params, output).shape
        except errors.UserError:
            return None

    shapes = {name: shape(of) for name, of in ALL.items()}
    assert set(shapes.values()) <= {(ROWS,), None}, shapes
    assert shapes["mse_sum"] == shapes["l1"] == (ROWS,)
