import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from sae_jax import errors, types
from sae_jax.losses import variational
from sae_jax.models import base, vae

D_IN, D_SAE, DRAWS, ROWS = 6, 3, 4, 5
MANY = 10_000
BOUND = ("expected_nll", "gaussian_kl")


def _context(key=0, step=0, train=True):
    return types.Context(
        step=jnp.asarray(step, jnp.int32),
        key=jax.random.key(key),
        dead=jnp.zeros(D_SAE, bool),
        train=train,
    )


def _numbers(seed=0):
    """Target, posterior, decoder's output and density ratios, float64."""
    rng = np.random.RandomState(seed)
    return dict(
        target=(rng.rand(ROWS, D_IN) < 0.4).astype(np.float64),
        mean=rng.randn(ROWS, D_SAE),
        log_var=rng.randn(ROWS, D_SAE),
        decoded=rng.randn(ROWS, DRAWS, D_IN),
        log_ratio=rng.randn(ROWS, DRAWS),
    )


def _term(name, numbers, sigma=None, mask=None, step=0, **knobs):
    arrays = {key: jnp.asarray(value, jnp.float32) for key, value in numbers.items()}
    target = arrays.pop("target")
    extras = arrays | ({} if sigma is None else {"sigma": jnp.asarray(sigma)})
    codes = extras["mean"]
    output = types.Output(x_hat=target, codes=codes, pre=codes, extras=extras)
    batch = types.Batch(x=1 - target, y=target, mask=mask)
    return getattr(variational, name)({}, batch, output, _context(step=step), **knobs)


def _log_likelihood_by_hand(numbers, sigma=None):
    target = numbers["target"][:, None]
    if sigma is None:
        each = stats.bernoulli(special.expit(numbers["decoded"])).logpmf(target)
    else:
        each = stats.norm(numbers["decoded"], sigma).logpdf(target)
    return each.sum(axis=-1)


@pytest.mark.parametrize("sigma", [None, 0.6])
def test_expected_nll_is_the_mean_over_draws_of_the_sum_over_d(sigma):
    numbers = _numbers()
    expected = -_log_likelihood_by_hand(numbers, sigma).mean(axis=1)
    np.testing.assert_allclose(_term("expected_nll", numbers, sigma), expected, rtol=1e-5)


def test_gaussian_kl_is_that_of_two_normal_distributions():
    numbers = _numbers()
    var = np.exp(numbers["log_var"])
    expected = 0.5 * (var + numbers["mean"] ** 2 - 1 - np.log(var)).sum(axis=1)
    np.testing.assert_allclose(_term("gaussian_kl", numbers), expected, rtol=1e-5)


def test_gaussian_kl_is_what_draws_say():
    mean, log_var = np.asarray([0.8, -0.3]), np.asarray([-1.0, 0.4])
    q = stats.norm(mean, np.exp(0.5 * log_var))
    z = q.rvs((100_000, 2), random_state=0)
    ratios = (q.logpdf(z) - stats.norm().logpdf(z)).sum(axis=1)
    found = _term("gaussian_kl", _numbers() | dict(mean=mean[None], log_var=log_var[None]))
    assert abs(found[0] - ratios.mean()) < 4 * ratios.std() / np.sqrt(len(ratios))


@pytest.mark.parametrize("capacity", [0.0, 2.0, 30.0])
def test_kl_capacity_is_the_distance_of_the_mean_kl(capacity):
    numbers = _numbers()
    expected = abs(np.asarray(_term("gaussian_kl", numbers), np.float64).mean() - capacity)
    found = _term("kl_capacity", numbers, capacity=capacity)
    np.testing.assert_allclose(found, np.full(ROWS, expected), rtol=1e-5)


def test_kl_capacity_leaves_padding_out_and_follows_a_schedule():
    numbers, mask = _numbers(), jnp.asarray([1.0, 1, 0, 1, 0])
    kl = np.asarray(_term("gaussian_kl", numbers), np.float64)
    found = _term("kl_capacity", numbers, mask=mask, step=3, capacity=lambda step: 2.0 * step)
    np.testing.assert_allclose(found, np.full(ROWS, abs(kl[[0, 1, 3]].mean() - 6)), rtol=1e-5)


@pytest.mark.parametrize("sigma", [None, 0.6])
def test_iwae_is_the_log_of_the_mean_weight(sigma):
    numbers = _numbers()
    log_w = _log_likelihood_by_hand(numbers, sigma) + numbers["log_ratio"]
    expected = -np.log(np.exp(log_w).mean(axis=1))
    np.testing.assert_allclose(_term("iwae", numbers, sigma), expected, rtol=1e-5)


def test_iwae_stands_weights_that_no_float_can_hold():
    numbers = _numbers()
    far = numbers | dict(log_ratio=numbers["log_ratio"] - 5000)
    expected = np.asarray(_term("iwae", numbers)) + 5000
    np.testing.assert_allclose(_term("iwae", far), expected, rtol=1e-5)


def test_a_term_without_its_model_says_which_to_choose():
    output = types.Output(x_hat=jnp.ones((2, 3)), codes=jnp.ones((2, 3)), pre=jnp.ones((2, 3)))
    for name in (*BOUND, "kl_capacity", "iwae"):
        with pytest.raises(errors.ConfigError, match='a posterior: set config.model.name="vae"'):
            getattr(variational, name)({}, types.Batch(x=jnp.ones((2, 3))), output, _context())


def _trained(samples):
    """A model whose posterior is far from the prior, and what it is to explain."""
    model = vae.Model(d_in=D_IN, d_sae=D_SAE, hidden=(4,), samples=samples)
    x = jnp.asarray(np.random.RandomState(2).rand(ROWS, D_IN) < 0.4, jnp.float32)
    shapes, _ = jax.eval_shape(functools.partial(base.init, model), jax.random.key(0), x)
    rng = np.random.RandomState(3)
    return model, jax.tree.map(lambda leaf: 0.7 * rng.randn(*leaf.shape).astype("f4"), shapes), x


@functools.partial(jax.jit, static_argnums=0)
def _losses(model, params, x):
    output, _ = base.forward(model, params, {}, x, _context())
    terms = {name: getattr(variational, name) for name in (*BOUND, "iwae")}
    return {
        name: term(params, types.Batch(x=x), output, _context()) for name, term in terms.items()
    }


def test_iwae_of_one_draw_is_the_negative_elbo_on_average():
    model, params, x = _trained(samples=1)
    many = jnp.tile(x[:1], (MANY, 1))
    losses = _losses(model, params, many)
    elbo = sum(losses[name].mean() for name in BOUND)
    error = np.std(losses["iwae"] - losses["expected_nll"]) / np.sqrt(len(many))
    assert error < 0.03
    assert abs(losses["iwae"].mean() - elbo) < 4 * error


def test_more_draws_bring_the_bound_nearer():
    model, params, x = _trained(samples=1)
    many = jnp.tile(x[:1], (MANY, 1))
    bounds = []
    for samples in (1, 5, 20):
        losses = _losses(model.clone(samples=samples), params, many)["iwae"]
        bounds.append(losses.mean())
        error = losses.std() / np.sqrt(len(many))
        if len(bounds) > 1:
            assert bounds[-1] < bounds[-2] - 2 * error


def test_the_gradient_of_iwae_weighs_that_of_each_log_weight():
    """`sum_i w~_i grad log w_i`, with weights that NumPy takes from `log_weights`."""
    model, params, x = _trained(samples=DRAWS)

    def log_weights(params):
        call = base.bind(model, params, {}, _context()).call
        return call("log_weights", x, _context().key, DRAWS)

    log_w = np.asarray(jax.jit(log_weights)(params), np.float64)
    weights = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    assert weights.max(axis=1).mean() < 0.95, "one draw has all the weight: this tests nothing"
    expected = jax.jit(jax.grad(lambda params: -(weights * log_weights(params)).sum()))(params)
    found = jax.jit(jax.grad(lambda params: _losses(model, params, x)["iwae"].sum()))(params)
    for slope, value in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(slope, value, rtol=1e-3, atol=1e-4)


def test_draws_that_are_kept_give_the_same_bound_and_on_average_the_same_gradient():
    model, params, x = _trained(samples=6)

    def measure(key, kept):
        def loss(params):
            output, _ = base.forward(model.clone(kept=kept), params, {}, x, _context(key))
            return variational.iwae(params, types.Batch(x=x), output, _context(key)).sum()

        return jax.value_and_grad(loss)(params)

    keys = jnp.arange(2000)
    bounds, slopes = jax.jit(jax.vmap(lambda key: measure(key, 0)))(keys)
    found, estimates = jax.jit(jax.vmap(lambda key: measure(key, 2)))(keys)
    np.testing.assert_allclose(found, bounds, rtol=1e-5)
    for name, slope in slopes.items():
        for value, estimate in zip(*map(jax.tree.leaves, (slope, estimates[name])), strict=True):
            error = np.asarray(estimate - value, np.float64)
            spread = error.std(axis=0) / np.sqrt(len(keys))
            assert (np.abs(error.mean(axis=0)) < 5 * spread + 1e-6).all(), name
            assert error.std() > 0.01 * np.asarray(value).std(), f"{name}: nothing was chosen"
