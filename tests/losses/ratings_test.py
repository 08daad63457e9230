import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
from scipy import special, stats

from sae_jax import types
from sae_jax.losses import ratings


def _call(term, x_hat, y, extras=None, x=None):
    codes = jnp.zeros((len(y), 1))
    output = types.Output(x_hat=jnp.asarray(x_hat), codes=codes, pre=codes, extras=extras or {})
    context = types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool)
    )
    y = jnp.asarray(y)
    batch = types.Batch(x=y, y=None) if x is None else types.Batch(x=jnp.asarray(x), y=y)
    return term({}, batch, output, context)


def test_mse_observed_by_hand_passes_over_zeros_of_the_target():
    found = _call(ratings.mse_observed, [[4.0, 9.0, 2.0], [1.0, 1.0, 1.0]], [[5, 0, 4], [0, 0, 0]])
    np.testing.assert_allclose(found, [1 + 4, 0])


def test_mse_observed_reads_the_target_and_not_the_input():
    found = _call(ratings.mse_observed, [[3.0, 3.0]], [[0.0, 5.0]], x=[[1.0, 0.0]])
    np.testing.assert_allclose(found, [4.0])


def test_the_gradient_of_mse_observed_is_twice_the_residual_where_it_is_known():
    y = np.asarray([[5.0, 0.0, 1.0]])
    slope = jax.jit(jax.grad(lambda x_hat: _call(ratings.mse_observed, x_hat, y).sum()))(
        jnp.asarray([[4.0, 7.0, 2.0]])
    )
    np.testing.assert_allclose(slope, [[-2.0, 0.0, 2.0]])


def test_multinomial_is_the_log_likelihood_of_counts_up_to_their_coefficient():
    rng = np.random.RandomState(0)
    logits, counts = rng.randn(4, 6), rng.randint(0, 3, (4, 6))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    n = counts.sum(1)
    coefficient = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(1)
    found = _call(ratings.multinomial, jnp.asarray(logits, jnp.float32), counts.astype(np.float32))
    np.testing.assert_allclose(
        found, coefficient - stats.multinomial.logpmf(counts, n, p), rtol=1e-5
    )


def test_multinomial_of_equal_scores_is_log_items_for_each_item():
    found = _call(ratings.multinomial, [[3.0, 3, 3, 3], [0, 0, 0, 0]], [[1.0, 0, 1, 0], [0] * 4])
    np.testing.assert_allclose(found, [2 * np.log(4), 0], rtol=1e-6)


def test_multinomial_takes_the_logits_where_the_output_is_squashed():
    logits = jnp.asarray([[1.0, -2.0, 0.5]])
    y = [[0.0, 1.0, 1.0]]
    squashed = _call(ratings.multinomial, jax.nn.sigmoid(logits), y, {"logits": logits})
    np.testing.assert_array_equal(squashed, _call(ratings.multinomial, logits, y))


def test_gradients_are_finite_differences():
    rng = np.random.RandomState(0)
    with jax.enable_x64(True):
        x_hat, y = jnp.asarray(rng.randn(2, 5)), jnp.asarray(rng.randint(0, 3, (2, 5)) * 1.0)
        for term in (ratings.mse_observed, ratings.multinomial):
            check_grads(lambda x_hat, term=term: _call(term, x_hat, y), (x_hat,), 1, ["rev"])
