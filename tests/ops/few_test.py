import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax.ops import few

BATCH, D_IN, D_SAE, MOST = 8, 6, 64, 4


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(few, "_LEAST", D_SAE)
    monkeypatch.setattr(few, "_SHARE", D_SAE // MOST)


def _codes(most):
    """Rows of 0, 1, ... positive entries, none with more than `most`."""
    rng = np.random.RandomState(0)
    codes = np.zeros((BATCH, D_SAE), np.float32)
    for row in range(BATCH):
        where = rng.choice(D_SAE, min(row, most), replace=False)
        codes[row, where] = rng.rand(len(where)) + 0.1
    return jnp.asarray(codes)


def _normal(seed, *shape):
    return jnp.asarray(np.random.RandomState(seed).randn(*shape), jnp.float32)


def test_it_finds_each_latent_that_counts_once():
    codes = _codes(MOST)
    found = jax.jit(few.find)(codes)
    assert found.fits
    for row, indices, counts in zip(codes, found.indices, found.counts, strict=True):
        assert len(set(indices.tolist())) == MOST
        assert set(indices[counts > 0].tolist()) == set(np.flatnonzero(row).tolist())


def test_one_example_with_more_is_too_many():
    assert not jax.jit(few.find)(_codes(MOST + 1)).fits


def test_small_dictionaries_have_no_sparse_form():
    assert few.find(jnp.zeros((BATCH, D_SAE // 2))) is None


@pytest.mark.parametrize("most", [MOST, MOST + 1], ids=["sparse", "dense"])
def test_product_is_the_plain_one_and_so_are_its_gradients_where_they_count(most):
    codes, w_dec, g = _codes(most), _normal(1, D_SAE, D_IN), _normal(2, BATCH, D_IN)

    @jax.jit
    def pulled(codes, w_dec):
        found = few.find(codes)
        return jax.vjp(lambda c, w: few.product(c, found, w), codes, w_dec)

    product, pull = pulled(codes, w_dec)
    to_codes, slope = pull(g)
    exact = [np.asarray(each, np.float64) for each in (codes, w_dec, g)]
    np.testing.assert_allclose(product, exact[0] @ exact[1], atol=1e-5)
    np.testing.assert_allclose(slope, exact[0].T @ exact[2], atol=1e-5)
    counts = np.asarray(codes) > 0
    np.testing.assert_allclose(to_codes[counts], (exact[2] @ exact[1].T)[counts], atol=1e-5)
    if most == MOST:
        assert not np.asarray(to_codes)[~counts].all(), "the dense form was taken"


def _encoder():
    """The arguments of the affine map, with biases that leave few latents positive."""
    x, centre, w_enc = _normal(3, BATCH, D_IN), _normal(4, D_IN), _normal(5, D_IN, D_SAE)
    pre = (x - centre[None]) @ w_enc
    b_enc = -jnp.sort(pre, axis=1)[:, -MOST].max() * jnp.ones(D_SAE)
    return x, centre, w_enc, b_enc


@pytest.mark.parametrize("reads", ["codes", "all"])
def test_pre_activations_have_the_gradients_of_the_affine_map(reads):
    g = _normal(6, BATCH, D_SAE)

    def read(pre):
        of_codes = (jax.nn.relu(pre) * g).sum()
        return of_codes if reads == "codes" else of_codes + jnp.square(pre).sum()

    def attached(x, centre, w_enc, b_enc):
        plain = jax.lax.stop_gradient((x - centre[None]) @ w_enc + b_enc[None])
        found = few.find(jax.nn.relu(plain))
        return read(few.attach(plain, found, x, centre, w_enc, b_enc)), found.fits

    def affine(x, centre, w_enc, b_enc):
        return read((x - centre[None]) @ w_enc + b_enc[None])

    of_all = (0, 1, 2, 3)
    (value, fits), ours = jax.jit(jax.value_and_grad(attached, of_all, True))(*_encoder())
    wanted, autodiff = jax.jit(jax.value_and_grad(affine, of_all))(*_encoder())
    assert fits
    assert value == pytest.approx(float(wanted), rel=1e-5)
    for one, other in zip(ours, autodiff, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_products_with_zeros_are_left_out():
    """The sparse branch of a whole gradient holds no product of three large sizes."""
    codes, w_dec = _codes(MOST), _normal(1, D_SAE, D_IN)

    def loss(w_dec):
        return few.product(codes, few.find(codes), w_dec).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(w_dec))
    assert text.count("dot_general") == 3  # One forwards, two backwards: those of dense branches.
