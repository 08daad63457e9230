import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import special, stats

from sae_jax import types
from sae_jax.models import base, vae

D_IN, D_SAE = 7, 3


def _context(train):
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(3),
        dead=jnp.zeros(D_SAE, bool),
        train=train,
    )


def _x(rows=5):
    return jnp.asarray(np.random.RandomState(0).rand(rows, D_IN) < 0.4, jnp.float32)


def _made(**kwargs):
    """A model, and parameters none of which is 0."""
    model = vae.Model(d_in=D_IN, d_sae=D_SAE, **kwargs)
    shapes, _ = jax.eval_shape(functools.partial(base.init, model), jax.random.key(0), _x())
    rng = np.random.RandomState(1)
    return model, jax.tree.map(lambda leaf: 0.5 * rng.randn(*leaf.shape).astype("f4"), shapes)


_forward = jax.jit(base.forward, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 2, 4))
def _call(model, params, method, args, samples=()):
    return base.bind(model, params, {}, _context(train=False)).call(method, *args, *samples)


def _posterior_by_hand(params, x):
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h = np.tanh(np.asarray(x, np.float64) @ p["enc_0"]["w"] + p["enc_0"]["b"])
    h = np.tanh(h @ p["enc_1"]["w"] + p["enc_1"]["b"])
    return h @ p["w_enc"] + p["b_enc"], h @ p["w_log_var"] + p["b_log_var"]


def _decoded_by_hand(params, z):
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    g = np.tanh(z @ p["w_dec"] + p["b_dec"])
    g = np.tanh(g @ p["dec_1"]["w"] + p["dec_1"]["b"])
    return g @ p["dec_0"]["w"] + p["dec_0"]["b"]


def test_at_rest_the_mean_is_decoded():
    model, params = _made(hidden=(6, 4), samples=5)
    x = _x()
    output, _ = _forward(model, params, {}, x, _context(train=False))
    mean, log_var = _posterior_by_hand(params, x)
    logits = _decoded_by_hand(params, mean)
    np.testing.assert_allclose(output.codes, mean, atol=1e-5)
    np.testing.assert_allclose(output.extras["log_var"], log_var, atol=1e-5)
    np.testing.assert_allclose(output.extras["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(output.x_hat, special.expit(logits), atol=1e-5)
    assert output.extras["decoded"].shape == (5, 1, D_IN)


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_in_training_draws_come_from_the_posterior(output):
    model, params = _made(hidden=(6, 4), samples=5, output=output)
    x = _x()
    made, _ = _forward(model, params, {}, x, _context(train=True))
    mean, log_var = _posterior_by_hand(params, x)
    noise = np.asarray(jax.random.normal(jax.random.key(3), (5, 5, D_SAE)), np.float64)
    sd = np.exp(0.5 * log_var)[:, None]
    z = mean[:, None] + sd * noise
    decoded = _decoded_by_hand(params, z)
    ratio = stats.norm().logpdf(z) - stats.norm(mean[:, None], sd).logpdf(z)
    np.testing.assert_allclose(made.codes, mean, atol=1e-5)
    np.testing.assert_allclose(made.extras["decoded"], decoded, atol=1e-4)
    np.testing.assert_allclose(made.extras["log_ratio"], ratio.sum(axis=-1), atol=1e-4)
    squash = special.expit if output == "sigmoid" else lambda x: x
    np.testing.assert_allclose(made.x_hat, squash(decoded[:, 0]), atol=1e-4)


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_log_weights_are_the_densities_of_scipy(output):
    model, params = _made(hidden=(6, 4), output=output, sigma=0.7)
    x, key = _x(), jax.random.key(9)
    found = _call(model, params, "log_weights", (x, key), (4,))
    mean, log_var = (part[:, None] for part in _posterior_by_hand(params, x))
    sd = np.exp(0.5 * log_var)
    z = mean + sd * np.asarray(jax.random.normal(key, (5, 4, D_SAE)), np.float64)
    decoded = _decoded_by_hand(params, z)
    target = np.asarray(x)[:, None]
    if output == "sigmoid":
        log_p = stats.bernoulli(special.expit(decoded)).logpmf(target)
    else:
        log_p = stats.norm(decoded, 0.7).logpdf(target)
    ratio = stats.norm().logpdf(z) - stats.norm(mean, sd).logpdf(z)
    np.testing.assert_allclose(found, log_p.sum(axis=-1) + ratio.sum(axis=-1), atol=1e-4)


def test_noise_is_another_at_each_step():
    model, params = _made(hidden=(6, 4), samples=5, output="sigmoid")
    contexts = [_context(train=True).replace(key=jax.random.key(key)) for key in (3, 3, 4)]
    outputs = [_forward(model, params, {}, _x(), context)[0] for context in contexts]
    first, again, other = (output.extras["decoded"] for output in outputs)
    np.testing.assert_array_equal(again, first)
    assert (np.abs(other - first).max(axis=-1) > 1e-4).all()
    assert (np.abs(first[:, 0] - first[:, 1]).max(axis=-1) > 1e-4).all()


@pytest.mark.parametrize("hidden", [(), (6, 4)])
def test_what_a_code_stands_for_is_what_is_reconstructed_from_it(hidden):
    model, params = _made(hidden=hidden)
    output, _ = _forward(model, params, {}, _x(), _context(train=False))
    decoded = _call(model, params, "decode", (output.codes,))
    np.testing.assert_allclose(decoded, output.x_hat, atol=1e-6)


def test_draws_are_kept_in_proportion_to_their_weights():
    share = np.asarray([[0.5, 0.05, 0.45, 0.0], [0.1, 0.2, 0.3, 0.4]])
    log_w = jnp.asarray(np.log(share + 1e-30) - 7, jnp.float32)
    noise = jnp.tile(jnp.arange(4.0)[None, :, None], (2, 1, 1))
    keys = jax.random.split(jax.random.key(0), 4000)
    kept = jax.jit(jax.vmap(lambda key: vae._choose(key, noise, log_w, 3)))(keys)[..., 0]
    counts = (np.asarray(kept)[..., None] == np.arange(4)).sum(axis=2)
    assert (counts.sum(axis=2) == 3).all()
    assert (np.abs(counts - 3 * share) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), 3 * share, atol=4 * 0.5 / np.sqrt(4000))


def test_all_draws_are_weighed_and_some_decoded():
    model, params = _made(hidden=(6, 4), samples=5, output="sigmoid")
    every = _forward(model, params, {}, _x(), _context(train=True))[0].extras
    some = _forward(model.clone(kept=2), params, {}, _x(), _context(train=True))[0].extras
    log_w = some["log_weights"]
    x, logits = np.asarray(_x())[:, None], np.asarray(every["decoded"], np.float64)
    log_p = stats.bernoulli(special.expit(logits)).logpmf(x).sum(axis=-1)
    np.testing.assert_allclose(log_w, log_p + every["log_ratio"], atol=1e-4)
    assert some["decoded"].shape == (5, 2, D_IN)
    for decoded, logits in zip(some["decoded"], every["decoded"], strict=True):
        for one in decoded:
            assert np.abs(one[None] - logits).max(axis=1).min() < 1e-5


@pytest.mark.parametrize(("hidden", "name"), [((), "b_dec"), ((6, 4), "dec_0")])
def test_the_outer_biases_start_at_the_mean(hidden, name):
    x = np.asarray(_x(40))
    for output, centre in (("sigmoid", special.expit), ("identity", lambda b: b)):
        model = vae.Model(d_in=D_IN, d_sae=D_SAE, hidden=hidden, output=output)
        params, _ = jax.jit(functools.partial(base.init, model))(jax.random.key(0), x)
        bias = params[name] if name == "b_dec" else params[name]["b"]
        np.testing.assert_allclose(centre(np.asarray(bias)), x.mean(axis=0), atol=1e-6)
        if hidden:
            first = x @ np.asarray(params["enc_0"]["w"]) + np.asarray(params["enc_0"]["b"])[None]
            np.testing.assert_allclose(first.mean(axis=0), np.zeros(6), atol=1e-6)
            assert np.abs(params["enc_0"]["b"]).min() > 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(d_sae=0), "d_sae=0"),
        (dict(samples=0), "samples=0"),
        (dict(hidden=(3, 0)), "hidden="),
        (dict(samples=3, kept=4), "kept=4: from 0 to samples=3"),
        (dict(sigma=0.0), "sigma=0.0"),
        (dict(output="softmax"), "output"),
        (dict(nonlinearity="tahn"), "nonlinearity=.*tanh"),
        (dict(bias="median"), "bias"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match=message):
        vae.Model(**{**dict(d_in=D_IN, d_sae=D_SAE), **wrong})
