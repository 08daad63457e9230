"""Files of a trained model's functions: what they return, hold and refuse."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.activations import relu
from sae_jax.analysis import export, quantise
from sae_jax.losses import reconstruction
from sae_jax.models import mlp, sae
from sae_jax.ops import normalise
from sae_jax.optim import optimizers
from sae_jax.train import step

D_IN, D_SAE = 40, 96
X = (3 + 2 * np.random.default_rng(0).random((16, D_IN))).astype(np.float32)
ALL = ("cpu", "cuda", "rocm", "tpu")


def _trained(model, normaliser):
    """Returns a method, a state in which no parameter is zero, and what it makes of X."""
    method = step.Method(
        model=model,
        terms={"mse_sum": step.Term(reconstruction.mse_sum, 1.0)},
        optimizer=optimizers.adam(lambda step: 1e-3),
        project=lambda params: params,
        learning_rate=1e-3,
        normaliser=normaliser,
        dead_after=100,
    )
    fitted = jax.tree.map(jnp.asarray, normaliser.fit(lambda: [X]))
    shapes = jax.eval_shape(lambda x: step.init(method, 0, fitted, x), X)
    rng = np.random.default_rng(1)
    state = step.State(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        params=jax.tree.map(
            lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), jnp.float32),
            shapes.params,
        ),
        stats={},
        normaliser=fitted,
        opt_state=(),
        idle=jnp.zeros(shapes.idle.shape, jnp.int32),
    )
    reconstruct = jax.jit(lambda state, x: step.reconstruct(method, state, types.Batch(x)))
    return method, state, reconstruct(state, X)


def _sae(**knobs):
    return sae.Model(D_IN, D_SAE, relu.Activation(), **knobs)


def _mlp(**knobs):
    return mlp.Model(D_IN, D_IN, D_SAE, relu.Activation(), **knobs)


@pytest.fixture(scope="module")
def trained():
    """A sparse autoencoder in a scale of its own: state, what it makes of X, and its functions."""
    method, state, output = _trained(_sae(), normalise.MeanNorm(centre=True))
    found, missing = export.functions(method, state, X)
    assert not missing
    return state, output, found


def _by_hand(state, params, x):
    """Returns codes and reconstructions, float64."""
    w = {name: np.asarray(value, np.float64) for name, value in params.items()}
    mean, scale = (np.asarray(state.normaliser[name], np.float64) for name in ("mean", "scale"))
    inner = (x - mean) * scale
    codes = np.maximum((inner - w["b_dec"]) @ w["w_enc"] + w["b_enc"], 0)
    return codes, (codes @ w["w_dec"] + w["b_dec"]) / scale + mean


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_files_return_what_the_formulas_say_for_any_number_of_rows(trained, weights):
    state, _, found = trained
    params = kept = jax.device_get(state.params)
    if weights == "int8":
        kept = quantise.quantise(params)
        params = quantise.dequantise(kept)
    programs = {
        name: export.load(export.serialise(name, function, kept, ["cpu"]))
        for name, function in found.items()
    }
    for rows in (1, 16):
        codes, x_hat = _by_hand(state, params, X[:rows].astype(np.float64))
        assert (codes > 0).mean() > 0.1
        np.testing.assert_allclose(programs["encode"](X[:rows]), codes, atol=1e-5)
        np.testing.assert_allclose(programs["decode"](codes.astype(np.float32)), x_hat, atol=1e-5)
        np.testing.assert_allclose(programs["reconstruct"](X[:rows]), x_hat, atol=1e-5)


def test_float32_files_return_what_the_run_returns(trained):
    state, output, found = trained
    codes = export.load(export.serialise("encode", found["encode"], state.params, ["cpu"]))(X)
    np.testing.assert_allclose(codes, output.codes, atol=1e-6)


def test_a_file_holds_the_weights_that_it_needs_once_and_no_path_of_this_machine(trained):
    state, _, found = trained
    data = export.serialise("encode", found["encode"], state.params, ["cpu"])
    weights = 4 * (D_IN * D_SAE + D_SAE + D_IN + D_IN)  # w_enc, b_enc, b_dec, mean.
    assert weights < len(data) < weights + 6000
    small = export.serialise("encode", found["encode"], quantise.quantise(state.params), ["cpu"])
    saved = 3 * D_IN * D_SAE - 4 * D_SAE
    assert saved - 1000 < len(data) - len(small) < saved + 1000
    assert b".py" not in data
    assert data == export.serialise("encode", found["encode"], state.params, ["cpu"])


def test_one_file_runs_on_all_the_platforms_named(trained):
    state, _, found = trained
    data = export.serialise("decode", found["decode"], quantise.quantise(state.params), ALL)
    assert jax.export.deserialize(bytearray(data)).platforms == ALL
    elsewhere = export.serialise("decode", found["decode"], state.params, ["tpu"])
    with pytest.raises(ValueError, match="platform"):
        export.load(elsewhere)(np.zeros((1, D_SAE), np.float32))


def test_a_platform_that_lacks_an_operation_is_named():
    function = export.Function(
        lambda params, x: jnp.linalg.eig(x[:, None] * x[..., None])[0].real, 3, 3
    )
    with pytest.raises(
        errors.UserError, match=r"spectrum cannot be lowered for all of cpu, tpu .*eig"
    ):
        export.serialise("spectrum", function, {}, ["cpu", "tpu"])


@pytest.mark.parametrize(
    "model",
    [
        _sae(output="sigmoid", pre_bias=False),
        _mlp(hidden=(30, 20), output="sigmoid"),
        _mlp(hidden=(30, 20), nonlinearity="relu", tied=True),
    ],
)
def test_decode_is_the_second_half_of_the_model(model):
    method, state, output = _trained(model, normalise.Unchanged())
    x_hat = jax.jit(lambda state, codes: step.bind(method, state).call("decode", codes))(
        state, output.codes
    )
    np.testing.assert_allclose(x_hat, output.x_hat, rtol=1e-6, atol=1e-6)


class _Skipping(nn.Module):
    """Decodes codes, and adds a part of the input."""

    @nn.compact
    def __call__(self, x, context):
        w = self.param("w", nn.initializers.normal(), (D_IN, D_IN))
        return types.Output(x_hat=x @ w @ w.T + x, codes=x @ w, pre=x @ w)

    def decode(self, codes):
        return codes @ self.variables["params"]["w"].T


class _Whole(nn.Module):
    """Is no two halves."""

    @nn.compact
    def __call__(self, x, context):
        w = self.param("w", nn.initializers.normal(), (D_IN, D_IN))
        # A model may ask how many rows there are.
        return types.Output(x_hat=(x @ w).reshape(len(x), D_IN), codes=x, pre=x)


@pytest.mark.parametrize(
    ("model", "normaliser", "why"),
    [
        (_sae(), normalise.Example(), "the normaliser takes shift and scale from each example"),
        (_Skipping(), normalise.Unchanged(), "the decoder takes more than codes"),
        (_Whole(), normalise.Unchanged(), "_Whole has no decode"),
    ],
)
def test_without_a_decoder_of_codes_alone_there_is_no_decode_and_a_reason(model, normaliser, why):
    method, state, output = _trained(model, normaliser)
    found, missing = export.functions(method, state, X)
    assert list(found) == ["encode", "reconstruct"]
    assert list(missing) == ["decode"]
    assert why in missing["decode"]
    program = export.load(
        export.serialise("reconstruct", found["reconstruct"], state.params, ["cpu"])
    )
    np.testing.assert_allclose(program(X), output.x_hat, atol=1e-5)
