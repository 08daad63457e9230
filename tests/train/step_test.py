import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sae_jax import errors, types
from sae_jax.activations import relu
from sae_jax.losses import dead, reconstruction, sparsity
from sae_jax.models import sae
from sae_jax.ops import normalise
from sae_jax.optim import constraints, optimizers, schedules
from sae_jax.train import step

ROWS, D_IN, D_SAE = 8, 4, 6


def _method(**changes):
    method = step.Method(
        model=sae.Model(D_IN, D_SAE, relu.Activation()),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "l1": step.Term(sparsity.l1, schedules.warmup(10, value=0.5, warmup=10)),
        },
        optimizer=optimizers.sgd(lambda step: 0.01),
        project=lambda params: params,
        learning_rate=0.01,
        normaliser=normalise.Unchanged(),
        dead_after=20,
    )
    return dataclasses.replace(method, **changes)


def _x():
    return np.random.RandomState(0).randn(ROWS, D_IN).astype(np.float32)


def _batch(**fields):
    return types.Batch(x=jnp.asarray(_x()), **fields)


def _state(method, fitted=None):
    fitted = {name: jnp.asarray(value) for name, value in (fitted or {}).items()}
    return step.init(method, 0, fitted, jnp.asarray(_x()))


def _after(method, count, state=None):
    """The states before each of `count` steps and the last, and the metrics of each step."""
    take = jax.jit(step.make(method))
    states, found = [_state(method) if state is None else state], []
    for _ in range(count):
        state, metrics = take(states[-1], _batch())
        states.append(state)
        found.append({name: float(value) for name, value in metrics.items()})
    return states, found


def _forward(params, x):
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    pre = (x - params["b_dec"]) @ params["w_enc"] + params["b_enc"]
    codes = np.maximum(pre, 0)
    return codes, codes @ params["w_dec"] + params["b_dec"]


def test_one_step_of_gradient_descent_by_hand():
    method = _method(
        model=sae.Model(2, 2, relu.Activation()),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "l1": step.Term(sparsity.l1, 3.0),
        },
        optimizer=optimizers.sgd(lambda step: 0.1),
    )
    batch = types.Batch(x=jnp.asarray([[2.0, 1.0]]))
    params = {
        "w_enc": jnp.asarray([[1.0, 0.0], [0.0, -1.0]]),
        "b_enc": jnp.asarray([0.5, 0.0]),
        "w_dec": jnp.asarray([[1.0, 1.0], [0.0, 1.0]]),
        "b_dec": jnp.asarray([1.0, 0.0]),
    }
    state = dataclasses.replace(step.init(method, 0, {}, batch.x), params=params)
    # x - b_dec = (1, 1), pre = (1.5, -1), codes = (1.5, 0), x_hat = (2.5, 1.5): off by (0.5, 0.5).
    # d/dx_hat = (1, 1); d/dcodes = (1 + 1 + 3, 1 + 3); d/dpre = (5, 0), since latent 1 rests.
    # d/dw_dec = codes^T (1, 1); d/dw_enc = (1, 1)^T (5, 0); d/db_dec = (1, 1) - w_enc (5, 0).
    after, metrics = jax.jit(step.make(method))(state, batch)
    np.testing.assert_allclose(after.params["w_dec"], [[0.85, 0.85], [0.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(after.params["w_enc"], [[0.5, 0.0], [-0.5, -1.0]], rtol=1e-6)
    np.testing.assert_allclose(after.params["b_enc"], [0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(after.params["b_dec"], [1.4, -0.1], rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], 0.5 + 3 * 1.5, rtol=1e-6)
    squares = 2 * 1.5**2 + 2 * 5**2 + 5**2 + 4**2 + 1**2
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(squares), rtol=1e-6)
    assert int(after.step) == 1


def test_metrics_are_what_numpy_says_of_the_state_before_the_step():
    states, found = _after(_method(learning_rate=lambda step: 0.01 * step), 3)
    x = _x().astype(np.float64)
    for now, (state, metrics) in enumerate(zip(states, found, strict=False)):
        codes, x_hat = _forward(state.params, x)
        mse, l1 = ((x - x_hat) ** 2).sum(axis=1).mean(), np.abs(codes).sum(axis=1).mean()
        expected = {
            "loss": mse + 0.5 * (now + 1) / 10 * l1,
            "loss/mse_sum": mse,
            "loss/l1": l1,
            "fvu": ((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum(),
            "l0": (codes != 0).sum(axis=1).mean(),
            "dead": 0.0,
            "learning_rate": 0.01 * now,
        }
        grad_norm = metrics.pop("grad_norm")
        assert metrics == pytest.approx(expected, rel=1e-5)
        # Plain gradient descent moved by 0.01 times the gradient.
        moved = [states[now + 1].params[name] - value for name, value in state.params.items()]
        size = np.sqrt(sum((np.asarray(move, np.float64) ** 2).sum() for move in moved))
        np.testing.assert_allclose(grad_norm, size / 0.01, rtol=1e-4)


def test_grad_norm_is_that_before_clipping():
    clipped = _method(optimizer=optimizers.sgd(lambda step: 0.01, clip_norm=1e-3))
    assert _after(clipped, 1)[1] == _after(_method(), 1)[1]


def _one_sided(state, latent):
    """A state whose only active latent is `latent`."""
    b_enc = jnp.full(D_SAE, -100.0).at[latent].set(100.0)
    return dataclasses.replace(state, params={**state.params, "b_enc": b_enc})


def test_idle_counts_examples_up_to_dead_after_and_starts_again():
    method = _method(terms={"mse_sum": step.Term(reconstruction.mse_sum, 0.0)})
    take = jax.jit(step.make(method))
    state, found = _one_sided(_state(method), 2), []
    for _ in range(4):
        state, metrics = take(state, _batch())
        found.append((state.idle.tolist(), float(metrics["dead"])))
    rest = [(8, 8, 0, 8, 8, 8), (16, 16, 0, 16, 16, 16), (20, 20, 0, 20, 20, 20)]
    assert found == [
        (list(rest[0]), 0.0),
        (list(rest[1]), 0.0),
        (list(rest[2]), 0.0),
        (list(rest[2]), pytest.approx(5 / 6)),
    ]
    state, metrics = take(_one_sided(state, 0), _batch())
    assert state.idle.tolist() == [0, 20, 8, 20, 20, 20]


def _watching(seen):
    """A method with a term that tells what it sees of the context."""

    def term(params, batch, output, context):
        del params, output
        seen.append(context.train)
        key = jax.random.uniform(context.key)
        return jnp.full(batch.size, key + context.step + 10 * context.dead.sum())

    return _method(
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 0.0),
            "seen": step.Term(term, 1.0),
        }
    )


def test_terms_see_step_dead_latents_and_a_key_of_the_step():
    seen = []
    method = _watching(seen)
    start = _one_sided(_state(method), 2)
    values = [metrics["loss/seen"] for metrics in _after(method, 5, start)[1]]
    uniform = [
        float(jax.random.uniform(jax.random.fold_in(start.key, number))) for number in range(5)
    ]
    assert len(set(uniform)) == 5
    dead = [0, 0, 0, 5, 5]  # Of 8 examples a step, 20 are needed.
    expected = [u + number + 10 * dead[number] for number, u in enumerate(uniform)]
    assert values == pytest.approx(expected, rel=1e-6)
    assert all(seen)
    terms = step.loss_terms(method, dataclasses.replace(start, idle=start.idle + 20), _batch())
    assert not seen[-1]
    assert float(terms["seen"]) > 10 * D_SAE


def test_the_same_state_and_batch_give_the_same_bits():
    method = _watching([])
    first, second = (_after(method, 2) for _ in range(2))
    assert first[1] == second[1]
    for ours, theirs in zip(
        jax.tree.leaves(first[0][-1].params), jax.tree.leaves(second[0][-1].params), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_the_key_of_the_state_never_changes():
    states, _ = _after(_method(), 2)
    assert (jax.random.key_data(states[0].key) == jax.random.key_data(states[2].key)).all()


def test_another_seed_is_another_start():
    first, second = (step.init(_method(), seed, {}, jnp.asarray(_x())) for seed in (0, 1))
    assert np.abs(first.params["w_dec"] - second.params["w_dec"]).max() > 0.1
    assert (jax.random.key_data(first.key) != jax.random.key_data(second.key)).any()


def test_init_starts_inside_the_constraint_with_nothing_idle():
    constraint = constraints.unit_norm()
    method = _method(
        model=sae.Model(D_IN, D_SAE, relu.Activation(), weights="uniform"),
        project=constraint.project,
    )
    state = _state(method)
    norms = np.linalg.norm(state.params["w_dec"], axis=1)
    np.testing.assert_allclose(norms, np.ones(D_SAE), atol=1e-6)
    assert (int(state.step), state.step.dtype) == (0, jnp.int32)
    assert (state.idle.tolist(), state.idle.dtype) == ([0] * D_SAE, jnp.int32)


def test_init_sees_the_data_in_the_scale_of_the_model():
    model = sae.Model(D_IN, D_SAE, relu.Activation(), bias="mean")
    method = _method(model=model, normaliser=normalise.MeanNorm())
    state = _state(method, {"mean": np.zeros(D_IN, np.float32), "scale": np.float32(3)})
    np.testing.assert_allclose(state.params["b_dec"], 3 * _x().mean(axis=0), rtol=1e-5)


def test_losses_are_in_the_scale_of_the_model_and_reconstructions_in_that_of_the_data():
    fitted = {"mean": np.arange(4, dtype=np.float32), "scale": np.float32(3)}
    method = _method(normaliser=normalise.MeanNorm(centre=True))
    state = _state(method, fitted)
    scaled = 3 * (_x().astype(np.float64) - np.arange(4))
    codes, x_hat = _forward(state.params, scaled)
    _, metrics = jax.jit(step.make(method))(state, _batch())
    mse = ((scaled - x_hat) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(metrics["loss/mse_sum"], mse, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/l1"], codes.sum(axis=1).mean(), rtol=1e-5)
    output = step.reconstruct(method, state, _batch())
    np.testing.assert_allclose(output.codes, codes, atol=1e-5)
    np.testing.assert_allclose(output.x_hat, x_hat / 3 + np.arange(4), atol=1e-5)


def test_loss_terms_are_unweighted():
    states, found = _after(_method(), 1)
    terms = step.loss_terms(_method(), states[0], _batch())
    assert {f"loss/{name}": float(value) for name, value in terms.items()} == pytest.approx(
        {name: value for name, value in found[0].items() if name.startswith("loss/")}, rel=1e-6
    )


@pytest.mark.parametrize("of", [dead.auxk, dead.ghost])
def test_loss_terms_know_which_latents_are_dead(of):
    method = _method(terms={"help": step.Term(of, 1.0)})
    state = _state(method)
    assert float(step.loss_terms(method, state, _batch())["help"]) == 0
    state = dataclasses.replace(state, idle=jnp.asarray([20, 0, 0, 20, 0, 0]))
    assert float(step.loss_terms(method, state, _batch())["help"]) > 0


def test_a_target_is_what_is_reconstructed():
    y = np.random.RandomState(1).randn(ROWS, D_IN)
    method = _method()
    state = _state(method)
    _, metrics = jax.jit(step.make(method))(state, _batch(y=jnp.asarray(y, jnp.float32)))
    _, x_hat = _forward(state.params, _x())
    mse = ((y - x_hat) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(metrics["loss/mse_sum"], mse, rtol=1e-5)


def _with_padding():
    """The metrics and the state after a step of six examples, and the same with two of padding."""
    method = _method()
    take, state = jax.jit(step.make(method)), _state(method)
    mask = jnp.asarray([1.0] * 6 + [0.0] * 2)
    padded = dataclasses.replace(_batch(mask=mask), x=jnp.asarray(_x()).at[6:].set(50.0))
    return take(state, types.Batch(x=jnp.asarray(_x()[:6]))), take(state, padded)


def test_padding_has_no_part_in_loss_and_gradient():
    (cut, cut_metrics), (padded, metrics) = _with_padding()
    for name in ("loss", "loss/mse_sum", "loss/l1", "grad_norm"):
        np.testing.assert_allclose(metrics[name], cut_metrics[name], rtol=1e-5, err_msg=name)
    for name, value in cut.params.items():
        np.testing.assert_allclose(padded.params[name], value, atol=1e-6, err_msg=name)


def test_padding_has_no_part_in_the_other_metrics():
    (cut, cut_metrics), (padded, metrics) = _with_padding()
    assert padded.idle.tolist() == cut.idle.tolist()
    for name in ("fvu", "l0"):
        np.testing.assert_allclose(metrics[name], cut_metrics[name], rtol=1e-5, err_msg=name)


def test_a_knob_of_a_term_reaches_it():
    method = _method(
        model=sae.Model(D_IN, D_SAE, relu.Activation()),
        terms={"kl": step.Term(functools.partial(sparsity.kl, rho=0.5), 1.0)},
        optimizer=optax.identity(),
    )
    state = _state(method)
    default = dataclasses.replace(method, terms={"kl": step.Term(sparsity.kl, 1.0)})
    found = [step.loss_terms(m, state, _batch())["kl"] for m in (method, default)]
    assert found[0] != found[1]


def test_a_term_that_does_not_fit_the_model_is_named_with_its_key():
    method = _method(terms={"bce": step.Term(reconstruction.bce, 1.0)})
    with pytest.raises(errors.ConfigError, match=r"^config\.loss\.bce: it needs a model that ends"):
        step.make(method)(_state(method), _batch())
