"""Every architecture with every activation: shapes, gradients, learning, and any number of devices.

A new file of `sae_jax/models` or `sae_jax/activations` is tested as soon as it is there; what it
needs besides is a row in `tests/variants.py`.
"""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
import numpy as np
import pytest

from experiments import build
from sae_jax import mesh as meshes, types
from sae_jax.losses import reconstruction, sparsity
from sae_jax.models import base
from sae_jax.ops import normalise
from sae_jax.optim import constraints, optimizers
from sae_jax.train import step
from tests import variants
from tests.variants import D_IN, D_SAE

BATCH = 16

# Batches and dictionaries split in two; and batches in four, for those that look across a batch.
MESHES = [(2, 2), (4, 1)]
ON_ALL_MESHES = [("sae", "relu"), ("sae", "batch_topk"), ("sae", "lifetime"), ("vq", None)]
_STEPS = 5

# Whose steps are divided among devices as those of another variant are, which is here too.
ALIKE = {
    *(("sae", activation) for activation in ("abs_topk", "jumprelu_to_input", "prolu_ste")),
    *(("sae", activation) for activation in ("abs_topk_sparse", "identity", "sigmoid")),
    *((variant, "relu") for variant in ("sae_relu_output", "sae_ng", "mlp", "mlp_deep")),
    ("conv", "relu"),
}
CASES = variants.cases()
# Tests of one case follow each other, and start from the same state.
every_case = pytest.mark.parametrize(("variant", "activation"), CASES, scope="module")


def _shapes(variant, activation):
    init = functools.partial(base.init, variants.model(variant, activation))
    return jax.eval_shape(init, jax.random.key(0), _x())[0]


def _x(rows=BATCH):
    """Sums of a few of twelve directions, all between 0 and 1."""
    rng = np.random.RandomState(0)
    codes = rng.rand(rows, 12) * (rng.rand(rows, 12) < 0.25)
    return jnp.asarray(np.clip(codes @ rng.rand(12, D_IN), 0, 1), jnp.float32)


def _context():
    return types.Context(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key(0),
        dead=jnp.zeros(D_SAE, bool),
        train=True,
    )


def _method(variant, activation):
    return step.Method(
        model=variants.model(variant, activation),
        terms={
            "mse_sum": step.Term(reconstruction.mse_sum, 1.0),
            "l1": step.Term(sparsity.l1, 0.01),
            **{
                name: step.Term(build.losses_by_name()[name], 1.0)
                for name in variants.TERMS.get(variant, ())
            },
        },
        optimizer=optimizers.adam(lambda step: 3e-3),
        project=constraints.none().project,
        learning_rate=3e-3,
        normaliser=normalise.Unchanged(),
        dead_after=64,
    )


def test_every_architecture_has_a_row_in_the_table():
    assert set(CASES) >= ALIKE
    assert {file for file, *_ in variants.MODELS.values()} == set(build.modules_in("models"))


@pytest.mark.parametrize("folder", ["models", "activations"])
def test_every_file_ends_in_what_is_found_by_its_name(folder):
    for name in build.modules_in(folder):
        module = importlib.import_module(f"sae_jax.{folder}.{name}")
        kind = {"models": "Model", "activations": "Activation"}[folder]
        assert inspect.isclass(getattr(module, kind)), f"{name} has no {kind}"
        assert inspect.getdoc(module), f"{name} says nothing"


@every_case
def test_the_number_of_parameters_is_that_of_the_table(variant, activation):
    params = _shapes(variant, activation)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == variants.size(variant, activation)


@every_case
def test_latent_axes_are_those_that_count_latents(variant, activation):
    params, count = _shapes(variant, activation), variants.LATENTS.get(variant, D_SAE)
    named = variants.module(variant).LATENT_AXES
    leaves = {path[-1].key: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    found = {name: leaf.shape.index(count) for name, leaf in leaves.items() if count in leaf.shape}
    assert found == {name: axis for name, axis in named.items() if name in leaves}


@every_case
def test_outputs_have_their_shapes_and_finite_gradients(variant, activation):
    model, x, state = variants.model(variant, activation), _x(), _start(variant, activation)

    def loss(params, x):
        output, changed = base.forward(model, params, state.stats, x, _context())
        loss = ((x - output.x_hat) ** 2).sum()
        for name in variants.TERMS.get(variant, ()):
            term = build.losses_by_name()[name]
            loss = loss + term(params, types.Batch(x=x), output, _context()).sum()
        return loss, (output, changed)

    (grads, slope), (output, changed) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(
        state.params, x
    )
    assert output.x_hat.shape == (BATCH, D_IN)
    assert output.codes.shape == output.pre.shape == (BATCH, D_SAE)
    assert jax.tree.structure(changed) == jax.tree.structure(state.stats)
    for leaf in jax.tree.leaves((output, grads, slope)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
        assert np.isfinite(leaf).all()
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.abs(leaf).max() > 0, f"nothing moves {jax.tree_util.keystr(path)}"


@every_case
def test_a_row_does_not_depend_on_the_others_when_it_is_evaluated(variant, activation):
    method = _method(variant, activation)

    @jax.jit
    def reconstruct(state, *parts):
        return [step.reconstruct(method, state, types.Batch(x=x)) for x in parts]

    whole, alone = reconstruct(_start(variant, activation), _x(), _x()[3:5])
    np.testing.assert_allclose(alone.x_hat, whole.x_hat[3:5], atol=1e-5)
    np.testing.assert_allclose(alone.codes, whole.codes[3:5], atol=1e-5)


def _started(method):
    return jax.jit(lambda x: step.init(method, 0, {}, x))(_x())


@functools.lru_cache(maxsize=1)
def _start(variant, activation):
    return _started(_method(variant, activation))


def _run(method, state, grid, steps):
    """The losses and the state after each step, each waited for: see the design, section 6."""
    axes = importlib.import_module(type(method.model).__module__).LATENT_AXES
    where = meshes.shardings(grid, state, {**axes, "idle": 0})
    state = jax.device_put(state, where)
    batch = jax.device_put(types.Batch(x=_x()), meshes.split_batch(grid))
    program = meshes.over(grid, step.make(method))
    take = jax.jit(program, out_shardings=(where, meshes.replicated(grid)))
    losses, states = [], []
    for _ in range(steps):
        state, metrics = jax.block_until_ready(take(state, batch))
        losses.append(float(metrics["loss"]))
        states.append(state)
    return losses, states


def _mesh(data, dictionary):
    return jax.make_mesh(
        (data, dictionary),
        ("data", "dictionary"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[: data * dictionary],
    )


@pytest.mark.parametrize(
    ("variant", "activation"),
    [pytest.param(*case, marks=pytest.mark.slow) if case in ALIKE else case for case in CASES],
    scope="module",
)
def test_the_loss_falls_and_the_number_of_devices_changes_no_step(variant, activation):
    method = _method(variant, activation)
    start = _start(variant, activation)
    losses, states = _run(method, start, _mesh(1, 1), 50)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]
    expected = states[_STEPS - 1]
    for shape in MESHES if (variant, activation) in ON_ALL_MESHES else MESHES[:1]:
        found, (*_, state) = _run(method, start, _mesh(*shape), _STEPS)
        np.testing.assert_allclose(found, losses[:_STEPS], rtol=1e-5, err_msg=str(shape))
        for found, value in zip(
            *map(jax.tree.leaves, (state.params, expected.params)), strict=True
        ):
            np.testing.assert_allclose(found, value, atol=1e-5, err_msg=str(shape))
        np.testing.assert_array_equal(state.idle, expected.idle)
