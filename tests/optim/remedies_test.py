"""Dead latents made anew: from which examples, in which size, and what the optimiser forgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors, types
from sae_jax.optim import optimizers, remedies

D_IN, D_SAE, ROWS = 4, 6, 5
DEAD = np.asarray([False, True, False, True, False, True])


def _params():
    rng = np.random.RandomState(0)
    params = {
        "w_enc": rng.randn(D_IN, D_SAE),
        "w_dec": rng.randn(D_SAE, D_IN),
        "b_enc": rng.randn(D_SAE),
        "b_dec": rng.randn(D_IN),
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}


def _optimizer(name):
    return getattr(optimizers, name)(lambda step: 0.1)


def _moved(optimizer, params):

    @jax.jit
    def move(params):
        gradient = jax.tree.map(lambda p: jnp.cos(p) + 2, params)
        return optimizer.update(gradient, optimizer.init(params), params)[1]

    return move(params)


def _run(name="adam", step=9, idle=None, error=None, seed=0, **knobs):
    params, optimizer = _params(), _optimizer(name)
    x = jnp.asarray(np.random.RandomState(1).randn(ROWS, D_IN), jnp.float32)
    context = types.Context(jnp.asarray(step), jax.random.key(seed), jnp.asarray(DEAD), train=True)
    idle = jnp.asarray(100 * DEAD if idle is None else idle, jnp.int32)
    error = jnp.ones(ROWS) if error is None else jnp.asarray(error, jnp.float32)
    remedy = remedies.resample(**{"every": 10, "until": 100, **knobs})
    before = (params, _moved(optimizer, params), idle)
    after = jax.jit(remedy)(*before, types.Batch(x=x), error, context)
    return before, after, x


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_dead_latents_point_at_examples_of_their_own_in_the_size_of_the_living():
    (old, _, _), (new, _, idle), x = _run()
    directions = _unit(np.asarray(x) - np.asarray(old["b_dec"]))
    rows = np.asarray(new["w_dec"])[DEAD]
    cosines = _unit(rows) @ directions.T
    chosen = cosines.argmax(axis=1)
    np.testing.assert_allclose(cosines.max(axis=1), 1, rtol=1e-5)
    assert len(set(chosen)) == 3
    living = np.linalg.norm(np.asarray(old["w_dec"])[~DEAD], axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), living, rtol=1e-5)
    columns = np.asarray(new["w_enc"])[:, DEAD]
    living = np.linalg.norm(np.asarray(old["w_enc"])[:, ~DEAD], axis=0).mean()
    np.testing.assert_allclose(columns, 0.2 * living * directions[chosen].T, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(new["b_enc"])[DEAD], 0)
    np.testing.assert_array_equal(idle, 0)


def test_living_latents_and_the_centre_stay():
    (old, _, _), (new, _, _), _ = _run()
    np.testing.assert_array_equal(new["w_dec"][~DEAD], old["w_dec"][~DEAD])
    np.testing.assert_array_equal(new["w_enc"][:, ~DEAD], old["w_enc"][:, ~DEAD])
    np.testing.assert_array_equal(new["b_enc"][~DEAD], old["b_enc"][~DEAD])
    np.testing.assert_array_equal(new["b_dec"], old["b_dec"])


@pytest.mark.parametrize("name", ["adam", "muon", "signum", "sgd"])
def test_the_optimiser_forgets_every_moment_of_what_was_dead_and_no_other(name):
    (params, before, _), (_, after, _), _ = _run(name)
    axes = {(D_SAE, D_IN): 0, (D_IN, D_SAE): 1, (D_SAE,): 0}
    forgotten = 0
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if old.shape in axes:
            living = np.compress(~DEAD, new, axis=axes[old.shape])
            np.testing.assert_array_equal(living, np.compress(~DEAD, old, axis=axes[old.shape]))
            np.testing.assert_array_equal(np.compress(DEAD, new, axis=axes[old.shape]), 0)
            forgotten += 1
        else:
            np.testing.assert_array_equal(new, old)
    assert forgotten == {"adam": 6, "muon": 4, "signum": 3, "sgd": 0}[name]


def test_badly_reconstructed_examples_are_chosen_by_the_square_of_their_error():
    """Errors 1 and 2: the second comes first four times in five."""
    x = jnp.asarray(np.random.RandomState(1).randn(ROWS, D_IN), jnp.float32)
    error = jnp.asarray([1.0, 2.0, 0.0, 0.0, 0.0])

    def first(seed):
        context = types.Context(jnp.zeros(()), jax.random.key(seed), jnp.asarray(DEAD))
        return remedies._directions(_params(), x, error, jnp.asarray(DEAD), context)[1]

    rows = np.asarray(jax.jit(jax.vmap(first))(jnp.arange(1000)))
    directions = _unit(np.asarray(x) - np.asarray(_params()["b_dec"]))
    counts = np.bincount((rows @ directions.T).argmax(axis=1), minlength=ROWS)
    assert counts[2:].sum() == 0
    assert counts[1] / 1000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    "case",
    [dict(step=8), dict(step=109), dict(idle=np.zeros(D_SAE))],
    ids=["not due", "too late", "active in this step"],
)
def test_nothing_happens_otherwise(case):
    before, after, _ = _run(**case)
    jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(w_enc=None, b_enc=None), "resample needs b_enc, w_enc"),
        (dict(dec_0={"w": jnp.ones((D_IN, D_IN)), "b": jnp.ones(D_IN)}), "a model of one layer"),
        (dict(w_dec=jnp.ones((D_SAE, 3)), b_dec=jnp.ones(3)), "reconstructs its input"),
    ],
    ids=["no encoder matrix", "a hidden layer", "writes something else"],
)
def test_a_model_whose_latents_are_not_made_of_examples_is_told_so(changes, said):
    params = {name: v for name, v in {**_params(), **changes}.items() if v is not None}
    context = types.Context(jnp.asarray(9), jax.random.key(0), jnp.asarray(DEAD), train=True)
    batch = types.Batch(x=jnp.ones((ROWS, D_IN)))
    with pytest.raises(errors.UserError, match=said):
        remedies.resample(every=10, until=100)(params, (), jnp.ones(D_SAE), batch, None, context)


@pytest.mark.parametrize("knobs", [dict(every=0), dict(until=0), dict(scale=0.0)])
def test_numbers_that_cannot_be_are_refused(knobs):
    with pytest.raises(ValueError, match="above 0"):
        remedies.resample(**{"every": 10, "until": 100, **knobs})


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_moments_in_few_bits_are_forgotten_too(kind):
    params = _params()
    before = _moved(optimizers.adam(lambda step: 0.1, moments=kind), params)
    after = jax.jit(remedies._forgotten)(params, before, jnp.asarray(DEAD))
    (old,), (new,) = ([part for part in of[1] if hasattr(part, "nu")] for of in (before, after))
    for name, axis in dict(w_dec=0, w_enc=1, b_enc=0).items():
        for left, right in ((old.mu, new.mu), (old.nu, new.nu)):
            assert left[name].dtype == right[name].dtype
            np.testing.assert_array_equal(np.compress(DEAD, right[name], axis=axis), 0)
            living = (np.compress(~DEAD, tree[name], axis=axis) for tree in (left, right))
            np.testing.assert_array_equal(*living)


def test_learned_thresholds_become_the_mean_of_the_living_and_their_moments_are_forgotten():
    theta = jnp.asarray([1.0, 50.0, 2.0, 60.0, 3.0, 70.0])
    params = {**_params(), "activation": {"threshold": theta}}
    optimizer = _optimizer("adam")
    context = types.Context(jnp.asarray(9), jax.random.key(0), jnp.asarray(DEAD), train=True)
    x = jnp.asarray(np.random.RandomState(1).randn(ROWS, D_IN), jnp.float32)
    given = (params, _moved(optimizer, params), jnp.asarray(100 * DEAD, jnp.int32))
    remedy = remedies.resample(every=10, until=100)
    new, opt_state, _ = jax.jit(remedy)(*given, types.Batch(x=x), jnp.ones(ROWS), context)
    found = new["activation"]["threshold"]
    np.testing.assert_allclose(found, [1, 2, 2, 2, 3, 2], rtol=1e-6)
    paths = jax.tree_util.tree_leaves_with_path(opt_state)
    moments = [leaf for path, leaf in paths if getattr(path[-1], "key", "") == "threshold"]
    assert len(moments) == 2
    for moment in moments:
        np.testing.assert_array_equal(moment == 0, DEAD)
