import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from sae_jax.ops import gaussian


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (1.5, 0.3), (-0.7, 2.0)])
def test_kl_is_the_integral_of_its_definition(mean, sd):
    q, p = stats.norm(mean, sd), stats.norm()
    expected, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mean - 12 * sd, mean + 12 * sd
    )
    found = gaussian.kl(jnp.asarray(mean), jnp.asarray(2 * np.log(sd)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_log_density_is_that_of_scipy():
    rng = np.random.RandomState(0)
    x, mean, log_var = rng.randn(3, 5, 4)
    expected = stats.norm(mean, np.exp(0.5 * log_var)).logpdf(x)
    found = gaussian.log_density(*(jnp.asarray(a, jnp.float32) for a in (x, mean, log_var)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
