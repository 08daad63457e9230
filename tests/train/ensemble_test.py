"""Runs that one program trains, over one device or several, end as each would by itself."""

import jax
import numpy as np
import pytest

from configs import sparse_mnist
from experiments import build, join
from sae_jax import errors, mesh as meshes
from sae_jax.data import base
from sae_jax.train import checkpoint, ensemble, evaluate, loop, writer

SLOW = pytest.mark.slow  # What others of its kind show as well.
CHANGES = [
    {"seed": 1},
    {"loss.l1.value": 0.1, "optim.learning_rate.value": 0.02},
    {"model.activation.k": 1, "model.activation.alpha": 2.0},
    {"seed": 2, "model.activation.k": 7},
]
DATA = base.Arrays(
    base.Spec("random", "train", (16,)),
    np.random.default_rng(0).integers(0, 256, (300, 16), np.uint8),
)


@pytest.fixture(autouse=True)
def data(monkeypatch):
    monkeypatch.setattr(build, "data", lambda group: DATA)


def _configs(changes, **model):
    found = []
    for change in changes:
        config = sparse_mnist.get_config("debug")
        config.update(num_steps=12, batch_size=64, log_every=2, eval_every=4, checkpoint_every=4)
        config.evals.test.batch_size = 60
        given = dict(d_sae=32, activation=dict(name="topk", k=3, alpha=1.0)) | model
        for key, value in given.items():
            config.model[key] = value
        config.update_from_flattened_dict(change)
        found.append(build.plain(config))
    return found


def _alone(values, folder):
    folder.mkdir(exist_ok=True)
    task = build.task_of(values, build.data, meshes.first(1))
    checkpoints, rows = checkpoint.Checkpoints(folder / "checkpoints"), writer.Writer(folder)
    try:
        state = loop.initialise(task, loop.template(task))
        state, totals = loop.train(task, state, checkpoints, rows)
    finally:
        rows.close()
        checkpoints.close()
    return state, loop.finish(task, totals), writer.read(folder / "metrics.jsonl")


def _begin(configs, root):
    """Returns the joined task and its members, each at its newest state."""
    load = join.Loader()
    joined = join.task(configs, load)
    tasks = [join.task([values], load) for values in configs]
    members = []
    first = ensemble.initialise(joined, tasks)
    for place, (task, state) in enumerate(zip(tasks, first, strict=True)):
        folder = root / str(place)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
        state = checkpoints.restore(loop.template(task)) or state
        rows = writer.Writer(folder, int(state.step))
        members.append(ensemble.Member(task, state, checkpoints, rows))
    return joined, members


def _together(configs, root, stop=lambda: False):
    joined, members = _begin(configs, root)
    try:
        evaluator = evaluate.Evaluator(joined.method, joined.mesh)
        ensemble.train(joined, members, evaluator, stop=stop)
    finally:
        for member in members:
            member.rows.close()
            member.checkpoints.close()
    return [(root / str(place), member) for place, member in enumerate(members)]


def _close(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5)


def _compare(found, alone):
    """Compares a member with what it is alone: state, results and rows."""
    for (state, results, rows), (folder, member) in zip(alone, found, strict=True):
        _close(jax.device_get(member.state.params), jax.device_get(state.params))
        _close(jax.device_get(member.state.opt_state), jax.device_get(state.opt_state))
        assert member.state.idle.sharding.is_equivalent_to(state.idle.sharding, 1)
        _close(loop.finish(member.task, member.totals), results)
        mine = writer.read(folder / "metrics.jsonl")
        assert [list(row) for row in mine] == [list(row) for row in rows]
        _close(mine, rows)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What each of CHANGES is alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "data", lambda group: DATA)
        return [_alone(values, tmp_path_factory.mktemp("alone")) for values in _configs(CHANGES)]


def test_each_member_is_as_if_it_had_been_trained_alone(alone, tmp_path):
    _compare(_together(_configs(CHANGES), tmp_path), alone)


def test_side_by_side_they_are_the_same(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble, "_side_by_side", lambda mesh: True)
    monkeypatch.setattr(ensemble, "_mesh", lambda count: meshes.first(1))
    _compare(_together(_configs(CHANGES), tmp_path), alone)


@pytest.mark.parametrize(("count", "devices"), [(1, 1), (2, 2), (3, 3), (5, 1), (6, 3), (16, 4)])
def test_members_are_spread_evenly_over_as_many_devices_as_can_be(count, devices):
    assert ensemble._mesh(count).size == devices


@pytest.mark.parametrize(
    "model",
    [
        dict(activation=dict(name="topk", k=3)),
        pytest.param(dict(activation=dict(name="abs_topk", k=3), blocks=4), marks=SLOW),
        dict(activation=dict(name="batch_topk", k=0.5, form="sparse")),
    ],
    ids=["all-at-once", "in-blocks", "of-the-batch"],
)
def test_in_the_sparse_form_a_smaller_k_is_a_mask(model, tmp_path):
    configs = _configs(
        [{}, {"model.activation.k": 9 * model["activation"]["k"]}], d_sae=320, **model
    )
    found = _together(configs, tmp_path)
    _compare(found[:1], [_alone(configs[0], tmp_path / "alone")])


def _k_falls_to(end):
    return dict(name="topk", k=dict(name="linear", start=8.0, end=end))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            [{"optim.moments": "bfloat16"}, {"optim.moments": "bfloat16", "seed": 1}], marks=SLOW
        ),
        [{"optim.moments": "int8"}, {"optim.moments": "int8", "seed": 1}],
        pytest.param(
            [
                {"model.activation": _k_falls_to(2.0)},
                {"model.activation": _k_falls_to(2.0), "seed": 1},
            ],
            marks=SLOW,
        ),
        [{"model.activation": _k_falls_to(2.0)}, {"model.activation": _k_falls_to(4.0)}],
    ],
    ids=["bfloat16 moments", "int8 moments", "a schedule of k", "schedules of k that differ"],
)
def test_what_is_no_plain_number_is_as_it_is_alone(changes, tmp_path):
    configs = _configs(changes, d_sae=320)
    found = _together(configs, tmp_path)
    _compare(found[:1], [_alone(configs[0], tmp_path / "alone")])


def test_data_on_the_host_are_one_stream(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(base.Arrays, "resident", False)
    configs = _configs([CHANGES[0], {"seed": 1, "optim.learning_rate.value": 0.02}])
    _compare(_together(configs, tmp_path)[:1], alone[:1])


def test_a_stopped_ensemble_goes_on_as_if_it_had_not_stopped(tmp_path):
    configs = _configs(CHANGES[:2])
    undisturbed = _together(configs, tmp_path / "undisturbed")
    asked = []
    with pytest.raises(loop.Preempted, match="stopped after step 6 of 12"):
        _together(configs, tmp_path / "stopped", stop=lambda: asked.append(1) or len(asked) == 3)
    resumed = _together(configs, tmp_path / "stopped")
    for (one_folder, one), (other_folder, other) in zip(undisturbed, resumed, strict=True):
        np.testing.assert_array_equal(one.state.params["w_enc"], other.state.params["w_enc"])
        texts = [(path / "metrics.jsonl").read_text() for path in (one_folder, other_folder)]
        assert texts[0] == texts[1]


def test_a_member_that_diverges_takes_no_other_with_it(tmp_path):
    configs = _configs([{}, {"optim.learning_rate.value": 1e30}, {"seed": 3}])
    (_, first), (folder, second), (_, third) = _together(configs, tmp_path)
    assert isinstance(second.error, errors.DivergedError)
    assert "no such state was saved" in str(second.error)
    assert checkpoint.Checkpoints(folder / "checkpoints").steps() == []
    for member in (first, third):
        assert member.error is None
        assert member.state.step == 12
        assert member.totals
