import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from sae_jax import types
from sae_jax.activations import batch_topk, identity, jumprelu, relu, sigmoid, topk
from sae_jax.losses import reconstruction, sparsity
from sae_jax.models import layers, sae
from sae_jax.ops import geometry, sparse
from tests import jitted

D_IN, D_SAE, L1 = 3, 6, 0.3


def _context(train=False):
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        dead=jnp.zeros(D_SAE, bool),
        train=train,
    )


def _five_activations():
    rng = np.random.RandomState(0)
    x = rng.randn(5, D_IN)
    params = {
        "w_enc": rng.randn(D_IN, D_SAE),
        "w_dec": rng.randn(D_SAE, D_IN),
        "b_enc": 0.1 * rng.randn(D_SAE),
        "b_dec": 0.1 * rng.randn(D_IN),
    }
    return x, params


def _by_hand(x, params):
    """Loss `mean ||x - x_hat||^2 + L1 mean sum_i f_i ||d_i||` and its gradient, float64."""
    w_enc, w_dec, b_enc, b_dec = (params[name] for name in ("w_enc", "w_dec", "b_enc", "b_dec"))
    pre = (x - b_dec) @ w_enc + b_enc
    codes = np.maximum(pre, 0)
    x_hat = codes @ w_dec + b_dec
    norms = np.sqrt((w_dec**2).sum(axis=1))
    loss = ((x - x_hat) ** 2).sum(axis=1).mean() + L1 * (codes * norms).sum(axis=1).mean()

    g_x_hat = 2 * (x_hat - x) / len(x)
    g_codes = g_x_hat @ w_dec.T + L1 * norms / len(x)
    g_pre = g_codes * (pre > 0)
    g_norms = L1 * codes.mean(axis=0)
    grads = {
        "w_enc": (x - b_dec).T @ g_pre,
        "w_dec": codes.T @ g_x_hat + (g_norms / norms)[:, None] * w_dec,
        "b_enc": g_pre.sum(axis=0),
        "b_dec": g_x_hat.sum(axis=0) - (g_pre @ w_enc.T).sum(axis=0),
    }
    return {"pre": pre, "codes": codes, "x_hat": x_hat, "loss": loss, "grads": grads}


def test_five_activations_forward_and_backward():
    x, params = _five_activations()
    expected = _by_hand(x, params)
    model = sae.Model(D_IN, D_SAE, relu.Activation())
    batch = types.Batch(x=jnp.asarray(x, jnp.float32))

    def loss(params):
        output, _ = jitted.forward(model, params, {}, batch.x, _context())
        per_example = reconstruction.mse_sum(params, batch, output, _context())
        per_example += L1 * sparsity.l1_decoder_norm(params, batch, output, _context())
        return per_example.mean(), output

    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    (got, output), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    # Some latents fire and some rest, or half of the gradient went untested.
    assert 0.2 < (expected["codes"] > 0).mean() < 0.8
    np.testing.assert_allclose(output.pre, expected["pre"], atol=1e-5)
    np.testing.assert_allclose(output.codes, expected["codes"], atol=1e-5)
    np.testing.assert_allclose(output.x_hat, expected["x_hat"], atol=1e-5)
    np.testing.assert_allclose(got, expected["loss"], rtol=1e-5)
    assert grads.keys() == expected["grads"].keys()
    for name, value in expected["grads"].items():
        np.testing.assert_allclose(grads[name], value, atol=2e-5, err_msg=name)


def test_the_gradient_by_hand_is_that_of_finite_differences():
    x, params = _five_activations()
    grads = _by_hand(x, params)["grads"]
    for name, value in params.items():
        for place in np.ndindex(value.shape):
            nudge = np.zeros_like(value)
            nudge[place] = 1e-6
            up, down = ({**params, name: value + sign * nudge} for sign in (1, -1))
            slope = (_by_hand(x, up)["loss"] - _by_hand(x, down)["loss"]) / 2e-6
            np.testing.assert_allclose(grads[name][place], slope, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("pre_bias", [False, True])
def test_sparse_codes_give_the_numbers_and_the_gradients_of_dense_ones(tied, pre_bias):
    x, params = _five_activations()
    batch = types.Batch(x=jnp.asarray(x, jnp.float32))
    if tied:
        del params["w_enc"]

    def loss(params, form):
        activation = topk.Activation(k=2, relu=True, form=form)
        model = sae.Model(D_IN, D_SAE, activation, tied=tied, pre_bias=pre_bias)
        output, _ = jitted.forward(model, params, {}, batch.x, _context(train=True))
        assert isinstance(output.codes, types.Codes) == (form == "sparse")
        per_example = reconstruction.mse_sum(params, batch, output, _context())
        per_example += L1 * sparsity.l1_decoder_norm(params, batch, output, _context())
        return per_example.mean()

    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    dense, few = run(params, "dense"), run(params, "sparse")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), few, dense)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_rescaled_latents_are_compared_by_what_they_would_write(form):
    x, params = _five_activations()
    params["w_dec"][:2] *= [[5.0], [0.2]]  # So that other latents are the largest.
    norms = np.linalg.norm(params["w_dec"], axis=1)
    batch = types.Batch(x=jnp.asarray(x, jnp.float32))
    model = sae.Model(D_IN, D_SAE, topk.Activation(k=2, relu=True, form=form), rescale=True)

    def by_hand(params):
        """The same, with codes in the units of what they write, and rows of norm 1."""
        scale = jnp.sqrt((params["w_dec"] ** 2).sum(axis=1))
        pre = (batch.x - params["b_dec"][None]) @ params["w_enc"] + params["b_enc"][None]
        seen = pre * scale[None]
        kept = jnp.where(seen >= jnp.sort(seen, axis=1)[:, -2:-1], jax.nn.relu(seen), 0.0)
        x_hat = kept @ (params["w_dec"] / scale[:, None]) + params["b_dec"][None]
        return ((batch.x - x_hat) ** 2).sum(axis=1).mean(), kept

    def loss(params):
        output, _ = jitted.forward(model, params, {}, batch.x, _context(train=True))
        return reconstruction.mse_sum(params, batch, output, _context()).mean(), output

    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    (wanted, kept), slopes = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(params)
    (got, output), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert got == pytest.approx(float(wanted), rel=1e-5)
    np.testing.assert_allclose(sparse.dense(output.codes) * norms[None], kept, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), grads, slopes)
    plain = sae.Model(D_IN, D_SAE, topk.Activation(k=2, relu=True, form=form))
    other = jitted.forward(plain, params, {}, batch.x, _context(train=True))[0]
    assert ((sparse.dense(other.codes) > 0) != (kept > 0)).any()
    np.testing.assert_array_equal(sparse.all_of(output.pre), sparse.all_of(other.pre))


def test_a_model_without_rescaling_is_that_of_rescaling_where_nothing_is_compared():
    x, params = _five_activations()
    codes = [
        _apply(x, params, activation=relu.Activation(), rescale=r).codes for r in (False, True)
    ]
    np.testing.assert_allclose(*codes, atol=1e-5)


def _apply(x, params, **kwargs):
    activation = kwargs.pop("activation", identity.Activation())
    model = sae.Model(D_IN, D_SAE, activation, **kwargs)
    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    return jitted.forward(model, params, {}, jnp.asarray(x, jnp.float32), _context())[0]


def test_without_pre_bias_the_encoder_sees_the_input_itself():
    x, params = _five_activations()
    got = _apply(x, params, pre_bias=False)
    np.testing.assert_allclose(got.pre, x @ params["w_enc"] + params["b_enc"], atol=1e-5)
    x_hat = np.asarray(got.codes) @ params["w_dec"] + params["b_dec"]
    np.testing.assert_allclose(got.x_hat, x_hat, atol=1e-4)


def test_tied_weights_are_one_matrix():
    x, params = _five_activations()
    del params["w_enc"]
    got = _apply(x, params, tied=True)
    pre = (x - params["b_dec"]) @ params["w_dec"].T + params["b_enc"]
    np.testing.assert_allclose(got.pre, pre, atol=1e-5)
    np.testing.assert_allclose(got.x_hat, pre @ params["w_dec"] + params["b_dec"], atol=1e-4)


def test_a_sigmoid_output_squashes_the_reconstruction():
    x, params = _five_activations()
    got = _apply(x, params, activation=sigmoid.Activation(), output="sigmoid")
    codes = 1 / (1 + np.exp(-((x - params["b_dec"]) @ params["w_enc"] + params["b_enc"])))
    np.testing.assert_allclose(got.codes, codes, atol=1e-5)
    x_hat = 1 / (1 + np.exp(-(codes @ params["w_dec"] + params["b_dec"])))
    np.testing.assert_allclose(got.x_hat, x_hat, atol=1e-5)


def test_a_tied_linear_code_with_a_relu_at_the_output_is_the_toy_model_of_superposition():
    x, params = _five_activations()
    w, b = params["w_dec"][:2], params["b_dec"]
    params = {"w_dec": w, "b_enc": np.zeros(2), "b_dec": b}
    params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
    model = sae.Model(D_IN, 2, identity.Activation(), tied=True, pre_bias=False, output="relu")
    got = jitted.forward(model, params, {}, jnp.asarray(x, jnp.float32), _context())[0]
    x_hat = np.maximum(x @ w.T @ w + b, 0)
    assert 0.2 < (x_hat > 0).mean() < 0.8
    np.testing.assert_allclose(got.x_hat, x_hat, atol=1e-5)


def _init(**kwargs):
    model = sae.Model(8, 32, relu.Activation(), **kwargs)
    x = jnp.asarray(3 + np.random.RandomState(0).randn(64, 8), jnp.float32)
    params, stats = jitted.init(model, jax.random.key(1), x)
    assert stats == {}
    return params, np.asarray(x)


def test_directions_start_at_the_wanted_norm_and_the_encoder_as_their_copy():
    params, _ = _init(decoder_norm=0.1)
    np.testing.assert_allclose(np.linalg.norm(params["w_dec"], axis=1), np.full(32, 0.1), rtol=1e-5)
    np.testing.assert_array_equal(params["w_enc"], params["w_dec"].T)
    np.testing.assert_array_equal(params["b_enc"], np.zeros(32))
    np.testing.assert_array_equal(params["b_dec"], np.zeros(8))


def test_directions_are_random():
    params, _ = _init()
    cosines = np.asarray(params["w_dec"] @ params["w_dec"].T)[np.triu_indices(32, 1)]
    # Between random directions in R^8: mean 0, standard deviation 1 / sqrt(8).
    assert abs(cosines.mean()) < 0.1
    assert 0.3 < cosines.std() < 0.4


@pytest.mark.parametrize("width", [4, 5, 50])
def test_a_large_matrix_starts_in_other_directions_drawn_some_after_the_other(width, monkeypatch):
    draw = layers.directions(2.0)
    monkeypatch.setattr(layers, "_LARGE", 0)
    monkeypatch.setattr(layers, "_DRAWN", 4 * 8 * width)
    rows = np.asarray(draw(jax.random.key(0), (23, 8)))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 2.0, rtol=1e-6)
    cosines = rows @ rows.T / 4
    assert np.abs(cosines - np.eye(23)).max() < 0.999, "each is drawn for itself"


def test_uniform_starts_within_its_bound_and_the_encoder_apart():
    params, _ = _init(weights="uniform")
    bound = np.sqrt(6 / (8 + 32 + 1))
    for name in ("w_enc", "w_dec"):
        assert 0.9 * bound < np.abs(params[name]).max() <= bound
        np.testing.assert_allclose(np.asarray(params[name]).std(), bound / np.sqrt(3), rtol=0.1)
    assert np.abs(params["w_enc"] - params["w_dec"].T).max() > 0.1


def test_bias_starts_at_the_mean_of_the_examples():
    params, x = _init(bias="mean")
    np.testing.assert_allclose(params["b_dec"], x.mean(axis=0), rtol=1e-5)


def test_tied_has_no_encoder_of_its_own():
    assert _init(tied=True)[0].keys() == {"w_dec", "b_enc", "b_dec"}


@pytest.fixture
def unchecked():
    """No checks of types, which in tests would speak before the model does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("field", ["output", "weights", "bias"])
def test_a_word_that_names_no_choice_is_refused(field):
    with pytest.raises(ValueError, match=f'{field}="tanh": choose from '):
        sae.Model(D_IN, D_SAE, relu.Activation(), **{field: "tanh"})


def test_rows_may_start_towards_examples_and_the_bias_at_their_median():
    x = jnp.asarray(5 + np.random.RandomState(0).randn(4, D_IN) ** 3, jnp.float32)
    model = sae.Model(
        D_IN, D_SAE, relu.Activation(), weights="examples", bias="median", decoder_norm=0.5
    )
    params, _ = jitted.init(model, jax.random.key(0), x)
    np.testing.assert_allclose(params["b_dec"], geometry.median(x), rtol=1e-6)
    offset = np.asarray(x) - np.asarray(params["b_dec"])
    cosines = np.asarray(params["w_dec"]) @ (offset / np.linalg.norm(offset, axis=1)[:, None]).T
    np.testing.assert_allclose(cosines.max(axis=1), 0.5, rtol=1e-5)
    assert len(set(cosines.argmax(axis=1)[:4])) == 4
    np.testing.assert_array_equal(params["w_enc"], params["w_dec"].T)


@pytest.mark.parametrize(
    ("activation", "fields"),
    [
        (relu.Activation(), {}),
        (topk.Activation(k=4, relu=True), dict(bias="median", rescale=True, decoder_norm=0.1)),
        (batch_topk.Activation(k=4), dict(pre_bias=False, weights="examples", bias="mean")),
    ],
)
def test_reconstructions_may_start_as_far_from_the_bias_as_examples(activation, fields):
    x = jnp.asarray(3 + np.random.RandomState(0).randn(600, 8), jnp.float32)
    model = sae.Model(8, 32, activation, match_norm=True, **fields)
    params, stats = jitted.init(model, jax.random.key(1), x)
    found = jitted.forward(model, params, stats, x, _context(train=True))[0].x_hat
    norms = [np.linalg.norm(each - params["b_dec"][None], axis=1).mean() for each in (found, x)]
    assert norms[0] == pytest.approx(norms[1], rel=0.05)
    plain, stats_before = jitted.init(sae.Model(8, 32, activation, **fields), jax.random.key(1), x)
    assert stats == stats_before
    for name in ("w_dec", "b_dec", "b_enc"):
        np.testing.assert_array_equal(params[name], plain[name])
    multiple = params["w_enc"] / plain["w_enc"]
    np.testing.assert_allclose(multiple, multiple[0, 0], rtol=1e-4)
    assert abs(float(multiple[0, 0]) - 1) > 0.1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(tied=True), "a copy of the decoder"),
        (dict(weights="uniform"), "a copy of the decoder"),
        (dict(output="relu"), 'it needs output="identity", not "relu"'),
        (dict(activation=jumprelu.Activation()), "must grow as pre-activations do"),
        (dict(activation=sigmoid.Activation()), "must grow as pre-activations do"),
    ],
)
def test_a_norm_that_cannot_be_matched_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        sae.Model(**{"activation": relu.Activation(), **fields}, d_in=8, d_sae=32, match_norm=True)


def test_aligned_latents_read_back_what_they_write():
    model = sae.Model(4, 9, relu.Activation(), aligned=True, decoder_norm=0.3)
    x = jnp.asarray(np.random.default_rng(3).standard_normal((6, 4)), jnp.float32)
    params, _ = jitted.init(model, jax.random.key(0), x)
    assert set(params) == {"w_free", "w_dec", "b_enc", "b_dec"}
    params = {name: value + 0.5 for name, value in params.items()} | {"b_enc": jnp.zeros(9)}
    rows = params["b_dec"][None] + params["w_dec"]  # One unit of each latent.
    pre = jitted.forward(model, params, {}, rows, _context())[0].pre
    np.testing.assert_allclose(jnp.diagonal(pre), 1.0, rtol=1e-5)
    # Along decoder rows the free weights have no effect, and no gradient.
    slope = jax.jit(jax.grad(lambda p: jitted.forward(model, p, {}, x, _context())[0].x_hat.var()))(
        params
    )
    np.testing.assert_allclose((slope["w_free"] * params["w_dec"].T).sum(axis=0), 0, atol=1e-6)
    with pytest.raises(ValueError, match="aligned"):
        sae.Model(4, 9, relu.Activation(), aligned=True, tied=True)
