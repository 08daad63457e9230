"""Every operation that devices divide among themselves, against the same on one device."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AxisType
import numpy as np
import pytest

from sae_jax import mesh as meshes, types
from sae_jax.losses import matryoshka
from sae_jax.ops import experts, linear, select, sharded, sparse

BATCH, D_IN, D_SAE, K = 8, 5, 24, 3
MESHES = [(4, 1), (1, 4), (2, 2)]
on_every_mesh = pytest.mark.parametrize("shape", MESHES)


def _mesh(shape):
    return jax.make_mesh(shape, ("data", "dictionary"), axis_types=(AxisType.Auto,) * 2)


def _random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _indices():
    rng = np.random.default_rng(1)
    return jnp.asarray(np.stack([rng.permutation(D_SAE)[:K] for _ in range(BATCH)]), jnp.int32)


def _same(function, shape, *sets, exact=False):
    """Asserts that a function gives the same on one device and on a mesh for sets of arguments."""
    mesh = _mesh(shape)
    alone, together = jax.jit(function), jax.jit(meshes.over(mesh, function))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    found = []
    for arguments in sets:
        placed = jax.device_put(arguments, meshes.replicated(mesh))
        found.append(together(*placed))
        expected = alone(*arguments)
        jax.tree.map(np.testing.assert_array_equal if exact else close, found[-1], expected)
    return found


def _tied():
    """Rows with many equal entries, and some that are equal all over."""
    x = np.random.default_rng(0).integers(-2, 3, (BATCH, D_SAE)).astype(np.float32)
    x[3], x[4] = 1.0, -np.inf
    return jnp.asarray(x)


@on_every_mesh
@pytest.mark.parametrize("k", [1, 5, 9, D_SAE])
def test_the_largest_of_each_row_are_those_of_one_device(shape, k):
    given = [(_tied(),), (_random(0, BATCH, D_SAE),)]
    found = _same(functools.partial(sharded.top_k, k=k), shape, *given, exact=True)
    for (x,), (values, indices) in zip(given, found, strict=True):
        expected = lax.top_k(x, k)
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(indices, expected[1])


@on_every_mesh
@pytest.mark.parametrize("whole_rows", [False, True])
def test_rows_and_columns_need_not_split_evenly(shape, whole_rows):
    top = functools.partial(sharded.top_k, k=4, whole_rows=whole_rows)
    _same(top, shape, (_random(0, 8, 22),), (_random(0, 6, 24),), exact=True)


@on_every_mesh
@pytest.mark.parametrize(("axis", "most"), [(0, BATCH), (1, D_SAE), (None, BATCH * D_SAE)])
def test_where_the_largest_are_is_found_by_counts(shape, axis, most):
    counts = [round(share * most) or 1 for share in (0.1, 0.5, 1.0)]
    given = [(x, jnp.asarray(k)) for x in (_tied(), _random(0, BATCH, D_SAE)) for k in counts]
    found = _same(functools.partial(select.largest, axis=axis), shape, *given, exact=True)
    for (_, k), chosen in zip(given, found, strict=True):
        assert (np.asarray(chosen).sum(axis=axis) == k).all()


@on_every_mesh
def test_sparse_codes_are_those_of_one_device(shape):
    def of(values, indices):
        codes = types.Codes(values, indices, D_SAE)
        return sparse.dense(codes), sparse.ever_active(codes, jnp.ones(BATCH).at[0].set(0.0))

    values, indices = _random(2, BATCH, K).at[1, 0].set(0.0), _indices()
    _same(of, shape, (values, indices), exact=True)
    weight = _random(3, BATCH, D_SAE)
    slope = jax.grad(lambda values: (of(values, indices)[0] ** 2 * weight).sum())
    _same(slope, shape, (values,))


@on_every_mesh
def test_decoding_and_its_gradients_are_those_of_one_device(shape):
    def loss(values, w_dec, indices, weight):
        return (sparse.decode(values, indices, w_dec) ** 2 * weight).sum()

    given = _random(2, BATCH, K), _random(3, D_SAE, D_IN), _indices(), _random(4, BATCH, D_IN)
    _same(jax.value_and_grad(loss, (0, 1)), shape, given)


@on_every_mesh
@pytest.mark.parametrize("remembered", [True, False])
def test_taking_and_its_gradients_are_those_of_one_device(shape, remembered):
    def loss(x, centre, w_enc, b_enc, indices, weight):
        parts = dict(x=x, centre=centre, w_enc=w_enc, b_enc=b_enc)
        dense = linear.encode(**parts)
        pre = types.Pre(dense, **parts) if remembered else dense
        return (sparse.take(pre, indices) ** 2 * weight).sum()

    weights = _random(3, D_IN), _random(4, D_IN, D_SAE), _random(5, D_SAE)
    given = _random(2, BATCH, D_IN), *weights, _indices(), _random(6, BATCH, K)
    _same(jax.value_and_grad(loss, (0, 1, 2, 3)), shape, given)


@on_every_mesh
def test_errors_of_prefixes_and_their_gradients_are_those_of_one_device(shape):
    def loss(left, values, w_dec, indices, weight):
        return (sparse.prefix_error(left, values, indices, w_dec) * weight).sum()

    codes = _random(3, BATCH, K), _random(4, D_SAE, D_IN), _indices()
    given = _random(2, BATCH, D_IN), *codes, _random(5, BATCH)
    _same(jax.value_and_grad(loss, (0, 1, 2)), shape, given)


@on_every_mesh
@pytest.mark.parametrize("groups", [1, 2, 3, 8, D_SAE])
def test_the_largest_of_groups_are_those_of_one_device(shape, groups):
    """Groups may be smaller than what a device has, larger, or neither a multiple of the other."""
    largest = functools.partial(sharded.largest_of_groups, groups=groups)
    given = [(_tied(),), (_random(0, BATCH, D_SAE),)]
    for (x,), found in zip(given, _same(largest, shape, *given, exact=True), strict=True):
        parts = np.asarray(x).reshape(BATCH, groups, -1)
        expected = parts.argmax(axis=2) + np.arange(groups) * parts.shape[2]
        np.testing.assert_array_equal(found, expected)


@on_every_mesh
def test_products_of_experts_and_their_gradients_are_those_of_one_device(shape):
    def loss(x, w, expert, weight):
        return (experts.product(x, w, expert, 4) ** 2 * weight).sum()

    expert = jnp.asarray([0, 3, 3, 1, 0, 2, 3, 3])
    given = _random(2, BATCH, D_IN), _random(3, D_IN, D_SAE), expert, _random(4, BATCH, D_SAE // 4)
    _same(jax.value_and_grad(loss, (0, 1)), shape, given)


@pytest.mark.parametrize("shape", [pytest.param((4, 1), marks=pytest.mark.slow), *MESHES[1:]])
@pytest.mark.parametrize("dense", [True, False])
def test_reconstructions_of_prefixes_are_those_of_one_device(shape, dense):
    """Prefixes end in the middle of what a device has, and between two devices."""

    def loss(values, w_dec, indices, ends):
        codes = types.Codes(values, indices, D_SAE)
        codes = sparse.dense(codes) if dense else codes
        fixed = jnp.stack(matryoshka._parts(codes, w_dec, [4, 12, 13, D_SAE]))
        return (fixed**2).sum() + (matryoshka._decoded(codes, w_dec, ends) ** 2).sum()

    ends = jnp.asarray([1, 6, 17, D_SAE])
    given = _random(2, BATCH, K), _random(3, D_SAE, D_IN), _indices(), ends
    _same(jax.value_and_grad(loss, (0, 1)), shape, given)
