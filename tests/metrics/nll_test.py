import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sae_jax import errors, types
from sae_jax.activations import identity
from sae_jax.metrics import nll
from sae_jax.models import base, mlp, vae

D_IN, D_SAE, SIGMA = 6, 3, 0.5


def _linear(spread):
    """A decoder with orthogonal rows and its posterior, whose variance is `spread` times the truth.

    x = z W + b + sigma noise is N(b, W'W + sigma^2), and the posterior of z is normal with
    independent coordinates: precision 1 + |w_j|^2 / sigma^2 (Tipping & Bishop 1999).
    """
    rng = np.random.RandomState(0)
    rows = np.linalg.qr(rng.randn(D_IN, D_SAE))[0].T * np.asarray([[2.0], [1.0], [0.3]])
    bias = rng.randn(D_IN)
    precision = 1 + (rows**2).sum(axis=1) / SIGMA**2
    w_enc = (rows / precision[:, None] / SIGMA**2).T
    params = {
        "w_enc": w_enc,
        "b_enc": -bias @ w_enc,
        "w_log_var": np.zeros((D_IN, D_SAE)),
        "b_log_var": np.log(spread / precision),
        "w_dec": rows,
        "b_dec": bias,
    }
    x = rng.multivariate_normal(bias, rows.T @ rows + SIGMA**2 * np.eye(D_IN), 24)
    truth = stats.multivariate_normal(bias, rows.T @ rows + SIGMA**2 * np.eye(D_IN))
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), x, -truth.logpdf(x)


@functools.partial(jax.jit, static_argnums=3)
def _sums(params, x, mask, samples):
    model = vae.Model(d_in=D_IN, d_sae=D_SAE, hidden=(), output="identity", sigma=SIGMA)
    context = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(D_SAE, bool))
    bound = base.bind(model, params, {}, context)
    output = types.Output(x_hat=x, codes=x, pre=x)
    return nll.sums(types.Batch(x=x, mask=mask), output, x[0], model=bound, samples=samples)


def _measure(params, x, samples, mask=None):
    mask = np.ones(len(x)) if mask is None else mask
    sums = _sums(params, np.asarray(x, np.float32), np.asarray(mask, np.float32), samples)
    return jax.tree.map(lambda total: np.asarray(total, np.float64), sums)


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_true_posterior_any_draw_gives_the_exact_likelihood(samples):
    params, x, exact = _linear(spread=1.0)
    found = nll.finish(_measure(params, x, samples))
    assert found == pytest.approx(dict(nll=exact.mean(), negative_elbo=exact.mean()), rel=1e-5)


def test_with_another_posterior_many_draws_come_near_it_and_the_bound_stays_away():
    params, x, exact = _linear(spread=2.0)
    found = nll.finish(_measure(params, x, 4000))
    assert found["nll"] == pytest.approx(exact.mean(), abs=0.02)
    gap = D_SAE * 0.5 * (2.0 - 1 - np.log(2.0))  # KL of the posterior from the truth.
    assert found["negative_elbo"] == pytest.approx(exact.mean() + gap, abs=0.02)


@pytest.mark.parametrize("samples", [13, 20])
def test_more_draws_are_nearer_however_they_are_cut(samples):
    params, x, exact = _linear(spread=2.0)
    many, one = (nll.finish(_measure(params, x, n)) for n in (samples, 1))
    assert one["nll"] == pytest.approx(one["negative_elbo"], rel=1e-5)
    assert many["nll"] < one["nll"] - 0.2
    assert many["nll"] == pytest.approx(exact.mean(), abs=0.1)


def test_an_example_has_its_own_noise_wherever_it_stands():
    params, x, _ = _linear(spread=2.0)
    whole = nll.finish(_measure(params, x, 7))
    parts = [_measure(params, x[::-1][i : i + 8], 7) for i in (0, 8, 16)]
    assert nll.finish(jax.tree.map(lambda *a: sum(a), *parts)) == pytest.approx(whole, rel=1e-6)
    keys = jax.random.key_data(nll._keys(jnp.asarray(np.eye(64), jnp.float32)))
    assert len(np.unique(np.asarray(keys), axis=0)) == 64


def test_padding_counts_nowhere_even_if_it_is_impossible():
    params, x, _ = _linear(spread=2.0)
    alone = nll.finish(_measure(params, np.tile(x[:4], (2, 1)), 7))
    spoilt = np.where(np.arange(8)[:, None] < 4, x[:8], np.inf)
    assert nll.finish(_measure(params, spoilt, 7, mask=np.arange(8) < 4)) == pytest.approx(alone)


def test_a_model_without_a_likelihood_is_named():
    context = types.Context(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.zeros(2, bool))
    x = jnp.ones((2, D_IN))
    bound = base.bind(mlp.Model(D_IN, D_IN, 2, identity.Activation()), {}, {}, context)
    with pytest.raises(errors.ConfigError, match="log_weights, and DeepAutoencoder has none"):
        nll.sums(types.Batch(x=x), types.Output(x, x, x), x[0], model=bound)
