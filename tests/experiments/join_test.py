"""Which runs one program trains: those that differ in numbers that decide no shape."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import sparse_mnist
from experiments import build, join
from sae_jax import errors
from sae_jax.data import base
from sae_jax.ops import per_member


@pytest.fixture
def load(monkeypatch):
    """Loads random numbers for whatever is named."""
    x = np.random.default_rng(0).integers(0, 256, (600, 16), np.uint8)
    data = base.Arrays(base.Spec("random", "train", (16,)), x)
    monkeypatch.setattr(build, "data", lambda group: data)
    return join.Loader()


def _configs(*changes):
    found = []
    for change in changes:
        config = sparse_mnist.get_config("debug")
        config.num_steps = 100
        with config.unlocked():
            config.update_from_flattened_dict(change)
        found.append(build.plain(config))
    return found


def test_numbers_of_the_method_and_seeds_join(load):
    changes = [
        {"loss.l1.value": 0.1},
        {"seed": 5},
        {"optim.learning_rate.value": 0.1, "optim.learning_rate.decay": 0.25},
        {"loss.l1.warmup": 0.5, "keep_checkpoints": 1},
    ]
    configs = _configs(*changes)
    assert join.groups(configs, load) == [([0, 1, 2, 3], "")]
    task = join.task(configs, load)
    assert task.plan.seed.values.tolist() == [0, 5, 0, 0]
    assert task.mesh.size == 1
    with per_member.member(0):
        assert task.method.terms["l1"].weight(jnp.asarray(100)) == pytest.approx(0.1)


def test_k_joins_in_both_forms(load):
    for d_sae in (32, 512):
        ks = [{"model.activation": dict(name="topk", k=k), "model.d_sae": d_sae} for k in (3, 9)]
        assert join.groups(_configs(*ks), load) == [([0, 1], "")]


@pytest.mark.parametrize(("other", "why"), [(2.5, None), (9, "model.activation.k=9")])
def test_k_of_a_batch_joins_if_the_form_is_the_same(other, why, load):
    ks = [dict(name="batch_topk", k=k) for k in (3, other)]
    configs = _configs(*[{"model.activation": k, "model.d_sae": 512} for k in ks])
    assert join.groups(configs, load) == ([([0], ""), ([1], why)] if why else [([0, 1], "")])


def test_what_decides_the_program_stands_apart(load):
    changes = [
        {"seed": 1},
        {"model.d_sae": 32},
        {"batch_size": 32},
        {"seed": 2},
        {"model.d_sae": 32, "loss.l1.value": 0.1},
        {"model.bias": "zeros"},
        {"optim.clip_norm": 0.5},
        {"optim.clip_norm": 0.25},
    ]
    assert sorted(join.groups(_configs(*changes), load)) == [
        ([0, 3], ""),
        ([1, 4], "model.d_sae=32"),
        ([2], "batch_size=32"),
        ([5], 'model.bias="zeros"'),
        ([6], "optim.clip_norm=0.5"),
        ([7], "optim.clip_norm=0.25"),
    ]


def test_data_on_the_host_have_one_order(load, monkeypatch):
    configs = _configs({"seed": 1}, {"loss.l1.value": 0.1, "seed": 1}, {})
    monkeypatch.setattr(base.Arrays, "resident", False)
    assert join.groups(configs, load) == [([0, 1], ""), ([2], "seed=0")]


def test_a_dictionary_over_devices_is_refused(load):
    with pytest.raises(errors.UserError, match=r"mesh\.dictionary=2.*without --together"):
        join.task(_configs({"mesh.dictionary": 2}), load)


def test_a_data_set_is_loaded_once(load, monkeypatch):
    loaded = []
    monkeypatch.setattr(build, "data", lambda group: loaded.append(group) or object())
    assert load({"name": "a", "split": "b"}) is load({"split": "b", "name": "a"})
    assert len(loaded) == 1
