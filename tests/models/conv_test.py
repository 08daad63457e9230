import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from sae_jax import types
from sae_jax.activations import identity, relu
from sae_jax.models import base, conv


def _context():
    return types.Context(
        step=jnp.zeros((), jnp.int32), key=jax.random.key(0), dead=jnp.zeros(1, bool), train=True
    )


def _forward(model, x):
    params, _ = base.init(model, jax.random.key(0), x)
    return base.forward(model, params, {}, x, _context())[0], params


def _started(model, x):
    """Output and parameters as `init` leaves them."""
    return jax.jit(lambda x: _forward(model, x))(jnp.asarray(x, jnp.float32))


def _output(model, x):
    """Output and parameters that NumPy made: they take no compiling."""
    shapes = jax.eval_shape(lambda x: _forward(model, x)[1], jnp.asarray(x, jnp.float32))
    rng = np.random.RandomState(1)
    params = jax.tree.map(lambda leaf: 0.3 * rng.randn(*leaf.shape).astype(np.float32), shapes)
    run = jax.jit(lambda params, x: base.forward(model, params, {}, x, _context())[0])
    return run(params, x), params


def _x(grid, rows=3):
    return np.random.RandomState(0).rand(rows, int(np.prod(grid))).astype(np.float32)


@pytest.mark.parametrize("pool", ["stride", "max"])
@pytest.mark.parametrize(
    ("grid", "stride", "places"),
    [((11, 2), 2, 3), ((10, 1), 3, 2), ((9, 6, 1), 2, 3 * 2), ((5, 7, 3), 3, 1)],
)
def test_what_comes_out_has_the_size_of_what_went_in(grid, stride, places, pool):
    d_in = int(np.prod(grid))
    model = conv.Model(
        d_in, grid, relu.Activation(), channels=(4, 5), kernel=3, stride=stride, pool=pool
    )
    output, _ = jax.eval_shape(lambda: _forward(model, jnp.asarray(_x(grid))))
    assert output.x_hat.shape == (3, d_in)
    assert output.codes.shape == output.pre.shape == (3, 5 * places)


def test_two_layers_by_hand():
    """A series of 6 places, two strided layers and back, in loops over places."""
    rng = np.random.RandomState(1)
    x = rng.randn(1, 6)
    model = conv.Model(6, (6, 1), relu.Activation(), channels=(2, 3), kernel=3)
    params = {
        "enc_0": {"w": rng.randn(3, 1, 2), "b": rng.randn(2)},
        "enc_1": {"w": rng.randn(3, 2, 3), "b": rng.randn(3)},
        "dec_1": {"w": rng.randn(3, 2, 3), "b": rng.randn(2)},
        "dec_0": {"w": rng.randn(3, 1, 2), "b": rng.randn(1)},
    }

    def forth(h, layer):  # Stride 2. An even size is padded by 1 at its end, an odd one by 1 each.
        n, left = len(h), len(h) % 2
        out = np.tile(layer["b"], (-(-n // 2), 1))
        for place in range(len(out)):
            for q in range(3):
                if 0 <= (source := 2 * place + q - left) < n:
                    out[place] += h[source] @ layer["w"][q]
        return out

    def back(g, layer, n):
        left = n % 2
        out = np.tile(layer["b"], (n, 1))
        for place in range(len(g)):
            for q in range(3):
                if 0 <= (target := 2 * place + q - left) < n:
                    out[target] += layer["w"][q] @ g[place]
        return out

    h = np.maximum(forth(x.reshape(6, 1), params["enc_0"]), 0)
    codes = np.maximum(forth(h, params["enc_1"]), 0)
    g = np.maximum(back(codes, params["dec_1"], 3), 0)
    x_hat = back(g, params["dec_0"], 6)

    params, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, x))
    output, _ = jax.jit(lambda params, x: base.forward(model, params, {}, x, _context()))(params, x)
    assert (codes > 0).any()
    np.testing.assert_allclose(output.codes, codes.reshape(1, -1), atol=1e-5)
    np.testing.assert_allclose(output.x_hat, x_hat.reshape(1, -1), atol=1e-5)


def test_a_pooled_layer_convolves_every_place_and_takes_the_largest_of_four():
    x = _x((5, 4, 1))
    model = conv.Model(20, (5, 4, 1), identity.Activation(), channels=(2,), kernel=3, pool="max")
    output, params = _output(model, x)
    w, b = np.asarray(params["enc_0"]["w"]), np.asarray(params["enc_0"]["b"])
    for row, found in zip(x.reshape(3, 5, 4), output.codes.reshape(3, 3, 2, 2), strict=True):
        for o in range(2):
            every = signal.correlate(row, w[:, :, 0, o], mode="same") + b[o]
            every = np.pad(every, ((0, 1), (0, 0)), constant_values=-np.inf)
            expected = every.reshape(3, 2, 2, 2).max(axis=(1, 3))
            np.testing.assert_allclose(found[..., o], expected, atol=1e-5)


def test_a_dense_code_has_the_width_it_was_given():
    model = conv.Model(36, (6, 6, 1), relu.Activation(), d_sae=7, channels=(4,))
    output, params = jax.eval_shape(lambda: _forward(model, jnp.asarray(_x((6, 6, 1)))))
    assert output.codes.shape == (3, 7)
    assert {name: leaf.shape for name, leaf in params.items() if name[:2] in ("w_", "b_")} == {
        "w_enc": (36, 7),
        "b_enc": (7,),
        "w_dec": (7, 36),
        "b_dec": (36,),
    }


@pytest.mark.parametrize("d_sae", [0, 7])
def test_decode_makes_the_reconstruction_of_codes(d_sae):
    model = conv.Model(
        30, (15, 2), relu.Activation(), d_sae=d_sae, channels=(3,), kernel=3, output="sigmoid"
    )
    output, params = _output(model, _x((15, 2)))
    decode = jax.jit(lambda params, z: model.apply({"params": params}, z, method="decode"))
    np.testing.assert_allclose(decode(params, output.codes), output.x_hat, rtol=1e-5)
    np.testing.assert_allclose(output.x_hat, 1 / (1 + np.exp(-output.extras["logits"])), rtol=1e-4)


def test_the_scale_of_a_random_input_survives_every_layer_and_the_output_starts_at_its_mean():
    """Or deep ones start with maps that vanish or explode."""
    grid = (16, 16, 2)
    x = 0.3 + np.random.RandomState(0).randn(8, 16 * 16 * 2)
    model = conv.Model(512, grid, identity.Activation(), channels=(8, 12), kernel=3, bias="mean")
    output, params = _started(model, x)
    # ReLUs halve the square and their weights double it; the edge loses a part of its windows.
    assert 0.3 < float((output.codes**2).mean() / (x**2).mean()) < 3
    assert 0.1 < float(output.x_hat.var() / (x**2).mean()) < 3
    means = x.reshape(-1, 2).mean(axis=0)
    np.testing.assert_allclose(params["dec_0"]["b"], means, rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(grid=None), "grid None cannot be convolved"),
        (dict(grid=(2, 3, 4, 1)), "cannot be convolved"),
        (dict(stride=0), "stride=0"),
        (dict(channels=()), "one layer at least"),
        (dict(d_sae=-1), "d_sae must be 0 or more"),
        (dict(nonlinearity="rleu"), 'nonlinearity="rleu"'),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    given = dict(d_in=24, grid=(4, 6, 1), activation=relu.Activation()) | fields
    with pytest.raises(ValueError, match=message):
        conv.Model(**given)
