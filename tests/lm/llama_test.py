"""The Llama family against its formulas in NumPy, and what can be done at its sites."""

import re

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from sae_jax import errors, mesh as meshes
from sae_jax.lm import base, edit, folder, llama
from tests.lm import tiny

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

IDS = np.random.RandomState(1).randint(3, 40, (3, 9)).astype(np.int32)


@pytest.fixture(scope="module")
def whole(model):
    """Logits and all sites of the batch."""
    return model.run(IDS, capture=model.sites)


def _close(found, wanted, rtol=2e-5):
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=rtol * abs(wanted).max())


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tie_word_embeddings": True, "num_key_value_heads": 1},
        {"rope_scaling": tiny.LLAMA_3, "num_key_value_heads": 4},
        {"rope_scaling": {"type": "linear", "factor": 3.0}},
    ],
)
def test_logits_and_every_site_are_those_of_the_formulas(changed, tmp_path):
    sizes = tiny.SIZES | changed
    tensors = tiny.write(tmp_path, sizes)
    model = folder.load(str(tmp_path))
    run = model.run(IDS, capture=model.sites)
    assert list(run.captured) == list(model.sites)
    assert len(model.sites) == 4 * 8
    for row, ids in enumerate(IDS):
        logits, sites = tiny.forward(sizes, tensors, ids)
        _close(run.logits[row], logits)
        assert set(sites) == set(model.sites)
        for site, activation in sites.items():
            assert activation.shape == (9, model.width(site))
            _close(run.captured[site][row], activation)


def test_rope_may_be_stated_as_newer_versions_do(tmp_path, whole, tensors):
    sizes = {k: v for k, v in tiny.SIZES.items() if k != "rope_theta"}
    sizes["rope_parameters"] = {"rope_type": "default", "rope_theta": 100.0}
    tiny.write(tmp_path, sizes, tensors)
    _close(folder.load(str(tmp_path)).run(IDS).logits, whole.logits)


@pytest.mark.parametrize(
    "capture",
    [
        ("resid_post.1",),
        ("resid_pre.0",),
        ("resid_mid.3", "z.0", "resid_mid.1"),
        ("mlp_hidden.2", "attn_out.2", "resid_pre.2"),
    ],
)
def test_without_logits_the_same_is_captured(model, whole, capture):
    run = model.run(IDS, capture=capture, logits=False)
    assert run.logits is None
    assert tuple(run.captured) == capture
    for site, activation in run.captured.items():
        _close(activation, whole.captured[site], 1e-6)


def _traced(model, *capture):
    arguments = (model.params, IDS, np.ones(IDS.shape, bool))
    options = dict(edits={}, capture=capture, logits=False)
    return llama.forward.trace(model.config, *arguments, **options)


def _flops(model, *capture):
    """Returns operations of a pass without logits and without loops."""
    return _traced(model, *capture).lower().compile().cost_analysis()["flops"]


def test_what_comes_after_the_deepest_site_is_not_computed(model):
    mlp = 2 * IDS.size * 16 * 24
    assert _flops(model, "resid_post.0") - _flops(model, "resid_mid.0") > 0.9 * 3 * mlp
    assert _flops(model, "resid_pre.0") < 0.1 * mlp
    for capture in (("resid_mid.2",), ("z.1", "resid_post.2")):
        assert re.findall(r"length=(\d+)", str(_traced(model, *capture).jaxpr)) == ["2"]


def _switched(activation, place, value, on):
    del place
    return jnp.where(on, value, activation)


def test_a_site_replaced_by_its_own_activation_changes_nothing(model, whole):
    for chosen in model.sites:
        edits = {
            site: edit.Edit(_switched, (activation, jnp.asarray(site == chosen)))
            for site, activation in whole.captured.items()
        }
        assert abs(model.run(IDS, edits=edits).logits - whole.logits).max() <= 1e-5
    for site in ("z.0", "resid_post.1"):
        edits = {site: edit.replace(whole.captured[site])}
        assert abs(model.run(IDS, edits=edits).logits - whole.logits).max() <= 1e-5


def test_ablated_attention_is_that_of_a_model_without_it(tensors, model):
    without = dict(tensors)
    name = "model.layers.1.self_attn.o_proj.weight"
    without[name] = np.zeros_like(without[name])
    run = model.run(IDS, edits={"attn_out.1": edit.ablate()}, capture=("attn_out.1",))
    assert (run.captured["attn_out.1"] == 0).all()
    _close(run.logits[0], tiny.forward(tiny.SIZES, without, IDS[0])[0])


def test_what_is_edited_in_the_last_block_needed_reaches_what_is_captured_after(model, whole):
    mean = whole.captured["attn_out.2"].mean(axis=(0, 1))
    found = model.run(
        IDS, edits={"attn_out.2": edit.ablate(mean)}, capture=("resid_mid.2",), logits=False
    ).captured["resid_mid.2"]
    _close(found, whole.captured["resid_pre.2"] + mean[None, None])


def test_other_values_cost_no_compilation(model):
    def run(strength, at):
        edits = {"resid_post.0": edit.add(np.full(16, strength), strength, at)}
        model.run(IDS, edits=edits, capture=("resid_post.2",))

    run(1.0, (0, 3))
    compiled = llama.forward._cache_size()
    run(2.0, (1, 8))
    assert llama.forward._cache_size() == compiled


def _reconstruct(activation, place, weights):
    del place
    return jnp.tanh(activation) @ weights


def test_own_functions_edit_and_are_differentiated_through(model):
    @jax.jit
    @jax.value_and_grad
    def loss(weights):
        edits = {"mlp_out.1": edit.Edit(_reconstruct, (weights,))}
        return model.losses(model.run(IDS, edits=edits).logits, IDS).sum()

    weights, step = jnp.eye(16), 1e-2
    direction = np.random.RandomState(0).standard_normal((16, 16)).astype(np.float32)
    up, down = (loss(weights + sign * step * direction)[0] for sign in (1, -1))
    slope = (loss(weights)[1] * direction).sum()
    assert slope == pytest.approx(float(up - down) / (2 * step), rel=2e-2)


@pytest.mark.parametrize("left", [False, True])
def test_padding_changes_nothing(model, left):
    lengths, sites = (9, 4, 4), ("resid_pre.0", "z.3", "mlp_in.2", "resid_post.3")
    ids, mask = np.zeros((3, 13), np.int32), np.zeros((3, 13), bool)
    for row, n in enumerate(lengths):
        columns = slice(13 - n, None) if left else slice(n)
        ids[row, columns], mask[row, columns] = IDS[row, :n], True
    edits = {"resid_post.1": edit.scale(3.0, at=(2,)), "z.2": edit.add(np.ones(24))}
    run = model.run(ids, mask, capture=sites, edits=edits)
    for row, n in enumerate(lengths):
        alone = model.run(IDS[row : row + 1, :n], capture=sites, edits=edits)
        _close(run.logits[row][mask[row]], alone.logits[0], 1e-5)
        for site in sites:
            _close(run.captured[site][row][mask[row]], alone.captured[site][0], 1e-5)
        losses = model.losses(run.logits, ids, mask)[row]
        assert (losses > 0).sum() == n - 1
        total = model.losses(alone.logits, IDS[row : row + 1, :n]).sum()
        assert losses.sum() == pytest.approx(float(total), rel=1e-4)


def test_losses_leave_out_padding_and_what_predicts_bos(model, whole):
    ids = IDS.copy()
    ids[1, 4] = model.tokenizer.bos
    mask = np.ones_like(ids, bool)
    mask[2, 6:] = False
    found = model.losses(whole.logits, ids, mask)
    logits = np.float64(whole.logits)
    wanted = np.log(np.exp(logits).sum(-1))[:, :-1] - np.take_along_axis(
        logits[:, :-1], ids[:, 1:, None], -1
    ).squeeze(-1)
    counted = np.ones((3, 8))
    counted[1, 3] = counted[2, 5:] = 0
    np.testing.assert_array_equal(model.targets(ids, mask), counted)
    np.testing.assert_allclose(found, wanted * counted, rtol=1e-5)


def test_bfloat16_is_close(tmp_path, tensors, whole):
    tiny.write(tmp_path, tensors=tensors)
    run = folder.load(str(tmp_path), dtype="bfloat16").run(IDS, capture=("resid_post.3",))
    assert run.logits.dtype == jnp.float32
    assert run.captured["resid_post.3"].dtype == jnp.bfloat16
    error = jnp.linalg.norm(run.logits - whole.logits) / jnp.linalg.norm(whole.logits)
    assert error < 0.05


def test_four_devices_give_the_same(model, whole):
    mesh = meshes.make()
    ids = jax.device_put(np.concatenate([IDS, IDS[:1]]), meshes.split_batch(mesh))
    placed = model.put(NamedSharding(mesh, PartitionSpec()))
    edits = {"mlp_in.1": edit.add(np.ones(16), 0.0)}
    run = placed.run(ids, capture=("resid_post.2", "z.1"), edits=edits)
    assert len(run.logits.addressable_shards) == 4
    assert run.captured["z.1"].addressable_shards[0].data.shape == (1, 9, 24)
    _close(run.logits[:3], whole.logits, 1e-5)
    _close(run.captured["resid_post.2"][3], whole.captured["resid_post.2"][0], 1e-5)


def test_texts_become_batches(model):
    ids, mask = model.batch(["the tea", "he"])
    assert mask.sum(axis=1).tolist() == [len(model.tokenizer.encode(t)) for t in ("the tea", "he")]
    assert (ids[1, 1:] == model.tokenizer.pad).all()
    assert model.tokenizer.decode(ids[0]) == "the tea"
    assert model.batch(["a" * 99])[0].shape == (1, 32)
    assert model.batch(["a" * 99], length=5)[0].shape == (1, 5)


def test_bad_input_is_refused_in_one_line(model):
    for site in ("resid_post.4", "resid_post", "nonsense"):
        with pytest.raises(errors.UserError, match=rf"'{site}' is no site of .*resid_pre\.0-3, z"):
            model.run(IDS, capture=(site,))
        with pytest.raises(errors.UserError, match="is no site"):
            model.run(IDS, edits={site: edit.ablate()})
    with pytest.raises(errors.UserError, match=r"ids have shape \(9,\)"):
        model.run(IDS[0])
    with pytest.raises(errors.UserError, match=r"mask has shape \(2, 9\)"):
        model.run(IDS, np.ones((2, 9)))
    with pytest.raises(errors.UserError, match="at most 32 tokens, not 33"):
        model.run(np.zeros((1, 33), np.int32))
    with pytest.raises(errors.UserError, match="ids from 40 to 40"):
        model.run(np.full((1, 3), 40))
    with pytest.raises(errors.UserError, match=r"value of shape \(5,\) does not fit"):
        model.run(IDS, edits={"z.0": edit.add(np.ones(5))})
    with pytest.raises(errors.UserError, match="an edit returns shape"):
        model.run(IDS, edits={"z.0": edit.Edit(lambda a, place: a[..., :3])})
    with pytest.raises(errors.UserError, match="marks tokens of 2 rows"):
        model.run(IDS, edits={"z.0": edit.scale(2.0, np.ones((2, 9), bool))})


def test_sites_are_summed_up():
    assert base._summary(("z.0", "z.1", "z.3", "mlp_out.2")) == "z.0-1,3, mlp_out.2"
