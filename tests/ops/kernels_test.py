"""Kernels give the sums of the plain forms: interpreted here, and lowered for GPUs."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import types
from sae_jax.ops import blocked, kernels, sparse

BATCH, K, LATENTS, D = 24, 5, 40, 192  # Three blocks of 64 columns.
RNG = np.random.default_rng(0)
TRITON = "__gpu$xla.gpu.triton"


def _array(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


INDICES = jnp.asarray(
    RNG.permuted(np.tile(np.arange(LATENTS), (BATCH, 1)), axis=1)[:, :K], jnp.int32
)
VALUES = _array(BATCH, K).at[3].set(0.0).at[:, -1].set(0.0)


@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_kernels_give_the_sums_of_the_plain_forms(kind):
    rows, g, start = _array(LATENTS, D).astype(kind), _array(BATCH, D), _array(LATENTS, D)
    wide = np.asarray(rows, np.float64)[np.asarray(INDICES)]
    found = kernels.decode(VALUES, INDICES, rows, interpret=True)
    np.testing.assert_allclose(found, np.einsum("bk,bkd->bd", VALUES, wide), rtol=1e-5, atol=1e-5)
    found = kernels.products(g, INDICES, rows, interpret=True)
    np.testing.assert_allclose(found, np.einsum("bd,bkd->bk", g, wide), rtol=1e-4, atol=1e-4)
    found = kernels.scatter(VALUES, INDICES, g, start, interpret=True)
    expected = np.asarray(start, np.float64)
    np.add.at(expected, np.asarray(INDICES), np.einsum("bk,bd->bkd", VALUES, g))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def _on_gpus(function, *arguments):
    allowed = [export.DisabledSafetyCheck.custom_call(TRITON)]
    program = export.export(jax.jit(function), platforms=["cuda"], disabled_checks=allowed)
    return program(*arguments).mlir_module().count(TRITON)


def _step(w_dec, values):
    decoded, w_dec = sparse.decode_and_pass(values, INDICES, w_dec)
    return (decoded**2).sum() + (w_dec[0] ** 2).sum()


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="lowers for GPUs only where one is")
@pytest.mark.parametrize(("chosen", "calls"), [("pallas", 3), ("", 0), ("xla", 0)])
def test_a_gpu_takes_them_where_it_is_told_to(monkeypatch, chosen, calls):
    monkeypatch.setenv("SAE_JAX_KERNELS", chosen)
    gradient = jax.grad(lambda *given: _step(*given), (0, 1))  # Traced anew, not from a cache.
    assert _on_gpus(gradient, _array(LATENTS, D), VALUES) == calls


def _encode(x, w_enc):
    pre = types.Pre(None, x, jnp.zeros(D), w_enc, jnp.zeros(w_enc.shape[1]), blocks=2)
    return blocked.top_k(pre, K)[0].sum()


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="lowers for GPUs only where one is")
@pytest.mark.parametrize(
    ("chosen", "rows", "columns", "calls"),
    [("pallas", 64, 512, 2), ("pallas", 60, 512, 0), ("pallas", 64, 500, 0), ("", 64, 512, 0)],
)
def test_a_gpu_encodes_by_them_where_sizes_fit(monkeypatch, chosen, rows, columns, calls):
    monkeypatch.setenv("SAE_JAX_KERNELS", chosen)
    encode = lambda *given: _encode(*given)  # noqa: E731  Traced anew.
    assert _on_gpus(encode, _array(rows, D), _array(D, columns)) == calls


def test_matrices_of_odd_widths_are_left_to_xla(monkeypatch):
    monkeypatch.setenv("SAE_JAX_KERNELS", "pallas")
    assert kernels.fit(768)
    assert kernels.fit(2304)
    assert not kernels.fit(100)
    assert _on_gpus(lambda w: _step(w, VALUES), _array(LATENTS, 100)) == 0


def test_cpus_give_the_same_with_and_without(monkeypatch):
    given = _array(LATENTS, D), VALUES
    expected = jax.jit(jax.grad(_step, (0, 1)))(*given)
    monkeypatch.setenv("SAE_JAX_KERNELS", "pallas")
    for found, value in zip(jax.jit(jax.grad(_step, (0, 1)))(*given), expected, strict=True):
        np.testing.assert_array_equal(found, value)
