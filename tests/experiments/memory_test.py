"""What a config says about memory: blocks, moments in few bits, and what a run will need."""

import jax
import numpy as np
import pytest

from configs import llm_topk, sparse_mnist
from experiments import build
from sae_jax import errors, mesh
from sae_jax.models import sae
from sae_jax.ops import factors
from sae_jax.train import checkpoint, feed, loop, memory, step


def _task(devices=None, **settings):
    config = sparse_mnist.get_config("debug")
    with config.unlocked(), config.ignore_type():
        config.model.activation = dict(name="topk", k=4, relu=True, form="sparse")
        config.loss = dict(mse_sum=1.0)
        config.mesh = dict(data=-1, dictionary=1)
        config.update_from_flattened_dict(settings)
    grid = None if devices is None else mesh.first(devices)
    return build.task_of(build.plain(config), build.data, grid)


def _stepped(task, count=2):
    state = loop.initialise(task, loop.template(task))
    raw = task.data.rows(np.arange(task.plan.batch_size))
    take = jax.jit(step.make(task.method))
    for _ in range(count):
        state, metrics = take(state, task.data.decode(raw))
    return state, metrics


def test_a_run_in_blocks_learns_what_one_without_learns():
    losses = [float(_stepped(_task(**{"model.blocks": n}))[1]["loss"]) for n in (1, 4)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_term_that_needs_all_pre_activations_is_named():
    task = _task(**{"model.blocks": 4, "loss": dict(mse_sum=1.0, ghost=1.0)})
    with pytest.raises(errors.UserError, match="config.loss.ghost: it needs all pre-activations"):
        _stepped(task)


def test_latents_on_several_devices_are_encoded_at_once():
    split = {"mesh.data": -1, "mesh.dictionary": 2}
    model = _task(**split).method.model
    assert isinstance(model, sae.SparseAutoencoder)
    assert model.blocks == 1
    assert not _task(**split).method.latent_axes
    with pytest.raises(errors.UserError, match="config.model.blocks=4: latents that are split"):
        _task(**split, **{"model.blocks": 4})


@pytest.mark.parametrize(
    ("devices", "settings", "factored"),
    [
        (1, {}, 2),
        (1, {"model.d_sae": 1024}, 0),
        (2, {}, 0),
        (1, {"optim": dict(name="muon", learning_rate=1e-3)}, 0),
        (1, {"model.tied": True}, 0),  # Its encoder is made of its decoder.
    ],
    ids=str,
)
def test_gradients_of_a_gigabyte_are_factors_where_they_can_be(
    devices, settings, factored, monkeypatch
):
    found, sort = [], factors.sort
    monkeypatch.setattr(factors, "sort", lambda grad: found.append(grad) or sort(grad))
    task = _task(devices, **{"model.d_sae": 360_000, **settings})
    batch = task.data.decode(task.data.rows(np.arange(task.plan.batch_size)))
    jax.eval_shape(step.make(task.method), loop.template(task), batch)
    assert len(found) == factored


def test_adafactor_cannot_forget_single_latents():
    config = llm_topk.get_config("debug")
    remedy = dict(name="resample", every=2, until=4)
    with pytest.raises(errors.UserError, match="adafactor cannot forget"):
        build._remedy(remedy, {**build.plain(config)["optim"], "name": "adafactor"})


@pytest.mark.parametrize(
    "optim",
    [pytest.param(dict(moments="bfloat16"), marks=pytest.mark.slow), dict(moments="int8"), {}],
    ids=str,
)
def test_a_state_in_few_bits_is_saved_and_restored(optim, tmp_path):
    name = "adam" if optim else "adafactor"
    task = _task(optim=dict(name=name, learning_rate=1e-3, constraint="unit_norm", **optim))
    state, _ = _stepped(task)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(2, state)
    restored = checkpoints.restore(loop.template(task))
    checkpoints.close()
    for saved, found in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        if not jax.dtypes.issubdtype(saved.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(np.asarray(saved), np.asarray(found))


@pytest.mark.parametrize("optim", [dict(moments="int8"), {}], ids=str)
def test_moments_in_other_shapes_lie_with_their_latents(optim):
    name = "adam" if optim else "adafactor"
    task = _task(
        optim=dict(name=name, learning_rate=1e-3, constraint="unit_norm", **optim),
        **{"mesh.data": -1, "mesh.dictionary": 2, "model.d_sae": 1024},
    )
    like = loop.template(task)
    assert like.params["w_dec"].sharding.spec[0] == "dictionary"
    if optim:
        (moments,) = [part for part in like.opt_state[1] if hasattr(part, "mu_scale")]
        for tree in (moments.mu, moments.mu_scale):
            assert tree["w_dec"].sharding.spec[0] == "dictionary"
            assert tree["w_enc"].sharding.spec[1] == "dictionary"
    assert np.isfinite(float(_stepped(task)[1]["loss"]))


def test_what_a_run_needs_is_what_its_programs_hold():
    task = _task()
    state = loop.initialise(task, loop.template(task))
    plan = task.plan
    source = feed.make(task.data, task.mesh, plan.batch_size, plan.seed, plan.log_every)
    payload = source.payload(0, 1, 1)
    needs = memory.needs(task, state, source, payload)
    source.close()
    assert list(needs) == ["training", "the start", "a check", "evaluation test"]
    held = memory.bytes_of(state) + memory.bytes_of(payload)
    gradient = memory.bytes_of(state.params)
    assert held + gradient < needs["training"]
    assert held < min(needs["a check"], needs["evaluation test"])
    assert memory.bytes_of(state) < needs["the start"]
