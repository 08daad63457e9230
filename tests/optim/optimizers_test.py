import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax.optim import constraints, optimizers

STEPS = 5


def _params():
    rng = np.random.RandomState(0)
    return {"w_dec": rng.randn(4, 3), "b_dec": rng.randn(3)}


def _gradients():
    rng = np.random.RandomState(1)
    return [{"w_dec": rng.randn(4, 3), "b_dec": rng.randn(3)} for _ in range(STEPS)]


def _rate(step):
    return 0.1 / (1 + step)


def _run(optimizer):
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), _params())
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in _gradients():
        gradient = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), gradient)
        updates, state = update(gradient, state, params)
        params = {name: params[name] + updates[name] for name in params}
    return params


def _clipped(gradient, norm):
    size = np.sqrt(sum((value**2).sum() for value in gradient.values()))
    return {name: value * min(1, norm / size) for name, value in gradient.items()}


def _check(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=2e-6, err_msg=name)


def _adam_by_hand(b1, b2, eps, weight_decay=0.0, clip=np.inf):
    params = _params()
    m = {name: np.zeros_like(value) for name, value in params.items()}
    v = {name: np.zeros_like(value) for name, value in params.items()}
    for t, gradient in enumerate(_gradients()):
        for name, g in _clipped(gradient, clip).items():
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            m_hat, v_hat = m[name] / (1 - b1 ** (t + 1)), v[name] / (1 - b2 ** (t + 1))
            move = m_hat / (np.sqrt(v_hat) + eps) + weight_decay * params[name]
            params[name] = params[name] - _rate(t) * move
    return params


@pytest.mark.parametrize(
    ("b1", "b2", "eps"), [(0.9, 0.999, 1e-8), (0.0, 0.99, 1e-8), (0.9, 0.999, 0.5)]
)
def test_adam_is_that_of_kingma_and_ba(b1, b2, eps):
    _check(_run(optimizers.adam(_rate, b1=b1, b2=b2, eps=eps)), _adam_by_hand(b1, b2, eps))


def test_adam_has_the_usual_defaults():
    _check(_run(optimizers.adam(_rate)), _adam_by_hand(0.9, 0.999, 1e-8))


def test_weight_decay_is_decoupled():
    expected = _adam_by_hand(0.9, 0.999, 1e-8, weight_decay=0.3)
    _check(_run(optimizers.adam(_rate, weight_decay=0.3)), expected)


def test_clip_norm_bounds_the_norm_of_the_whole_gradient_before_adam():
    sizes = [np.sqrt(sum((v**2).sum() for v in g.values())) for g in _gradients()]
    norm = float(np.median(sizes))
    assert min(sizes) < norm < max(sizes)  # Some gradients are cut, some are not.
    expected = _adam_by_hand(0.9, 0.999, 1e-8, clip=norm)
    _check(_run(optimizers.adam(_rate, clip_norm=norm)), expected)


def _sgd_by_hand(momentum=0.0, nesterov=False, clip=np.inf):
    params = _params()
    trace = {name: np.zeros_like(value) for name, value in params.items()}
    for t, gradient in enumerate(_gradients()):
        for name, g in _clipped(gradient, clip).items():
            trace[name] = g + momentum * trace[name]
            move = g + momentum * trace[name] if nesterov else trace[name]
            params[name] = params[name] - _rate(t) * move
    return params


@pytest.mark.parametrize(
    ("ours", "by_hand"),
    [
        ({}, {}),
        (dict(momentum=0.9), dict(momentum=0.9)),
        (dict(momentum=0.9, nesterov=True), dict(momentum=0.9, nesterov=True)),
        (dict(clip_norm=1.0), dict(clip=1.0)),
    ],
)
def test_sgd_with_and_without_momentum(ours, by_hand):
    _check(_run(optimizers.sgd(_rate, **ours)), _sgd_by_hand(**by_hand))


@pytest.mark.parametrize("make", [optimizers.adam, optimizers.sgd])
def test_the_constraint_is_the_last_link(make):
    params = _run(make(_rate, clip_norm=1.0, constraint=constraints.unit_norm().link))
    np.testing.assert_allclose(np.linalg.norm(params["w_dec"], axis=1), np.ones(4), atol=1e-6)


def test_signum_moves_each_number_by_the_sign_of_its_momentum():
    params, momentum = _params(), {name: 0.0 * value for name, value in _params().items()}
    for t, gradient in enumerate(_gradients()):
        for name, g in gradient.items():
            momentum[name] = 0.5 * momentum[name] + g
            params[name] = params[name] - _rate(t) * np.sign(momentum[name])
    _check(_run(optimizers.signum(_rate, momentum=0.5)), params)


def test_muon_makes_updates_of_matrices_nearly_orthogonal_and_moves_biases_by_adam():
    before, after = _params(), _run(optimizers.muon(lambda step: 0.1))
    sizes = np.linalg.svd(np.asarray(after["w_dec"]) - before["w_dec"], compute_uv=False)
    assert 0.05 < sizes.min() < sizes.max() < 1.3
    alone = _run(optax.nadam(0.1))
    np.testing.assert_allclose(after["b_dec"], alone["b_dec"], rtol=1e-5)


@pytest.mark.parametrize("relative", [False, True])
def test_adafactor_divides_by_rows_and_columns(relative):
    """A gradient of rank 1 has a second moment of rank 1: all moves of a first step are alike."""
    rng = np.random.RandomState(0)
    params = {"w_dec": jnp.asarray(rng.randn(200, 128), jnp.float32)}
    signs = rng.choice([-1.0, 1.0], (200, 128))
    grads = {"w_dec": jnp.asarray(signs * np.outer(rng.rand(200) + 1, rng.rand(128) + 1))}
    optimizer = optimizers.adafactor(lambda step: 0.01, relative=relative)
    state = optimizer.init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 400
    updates = optimizer.update(grads, state, params)[0]["w_dec"]
    size = 0.01 * (np.sqrt((np.asarray(params["w_dec"]) ** 2).mean()) if relative else 1)
    np.testing.assert_allclose(updates, -size * signs, rtol=1e-3)
