"""Models of the package transformers, small and random, behind the same interface."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import edit, folder, generate, transformers as loader
from tests.lm import tiny

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

IDS = np.random.RandomState(1).randint(3, 40, (3, 9)).astype(np.int32)
_SMALL = dict(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=4)
_OTHERS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=3, n_head=4, n_positions=32
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        **_SMALL, intermediate_size=24, max_position_embeddings=32, use_parallel_residual=True
    ),
    "qwen2": lambda: transformers.Qwen2Config(
        **_SMALL, num_key_value_heads=2, intermediate_size=24, max_position_embeddings=32
    ),
    "gemma2": lambda: transformers.Gemma2Config(
        **_SMALL, num_key_value_heads=2, intermediate_size=24, head_dim=4, sliding_window=8
    ),
}


def _save_tokenizer(path):
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tiny.tokenizer(), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A Llama read by PyTorch and by JAX."""
    path = tmp_path_factory.mktemp("pair")
    tiny.write(path)
    _save_tokenizer(path)
    return loader.load(str(path)), folder.load(str(path))


@functools.cache
def _random(name):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(_OTHERS[name]())


@pytest.fixture(params=sorted(_OTHERS))
def other(request, tmp_path):
    _random(request.param).save_pretrained(tmp_path)
    _save_tokenizer(tmp_path)
    return request.param, loader.load(str(tmp_path))


def _close(found, wanted, share=1e-5):
    wanted = np.asarray(wanted)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=share * abs(wanted).max())


def test_both_readers_of_a_llama_have_the_same_sites_and_numbers(pair):
    torch_model, own = pair
    assert torch_model.widths == dict(own.widths)
    assert list(torch_model.sites) == list(own.sites)
    assert (torch_model.n_layers, torch_model.d_model, torch_model.vocab) == (4, 16, 40)
    assert torch_model.context == own.context == 32
    found, wanted = (model.run(IDS, capture=model.sites) for model in pair)
    _close(found.logits, wanted.logits)
    for site in own.sites:
        _close(found.captured[site], wanted.captured[site])


@pytest.mark.parametrize("left", [False, True])
def test_padding_and_edits_do_the_same(pair, left):
    mask = np.ones((3, 9), bool)
    mask[1, :5] = not left
    mask[1, 5:] = left
    edits = {
        "resid_post.1": edit.add(np.linspace(-1, 1, 16), 2.0, at=slice(1, None)),
        "z.2": edit.scale(0.5),
        "mlp_hidden.0": edit.ablate(),
        "resid_mid.3": edit.replace(np.ones(16), at=(2,)),
    }
    found, wanted = (model.run(IDS, mask, capture=("resid_post.3",), edits=edits) for model in pair)
    _close(found.logits[mask], wanted.logits[mask])
    _close(found.captured["resid_post.3"][mask], wanted.captured["resid_post.3"][mask])


def test_both_tokenise_and_write_the_same(pair):
    assert pair[0].tokenizer.encode("hey, the tea") == pair[1].tokenizer.encode("hey, the tea")
    for model in pair:
        ids = model.tokenizer.encode("hey, the")
        assert model.tokenizer.decode(ids) == "hey, the"
        assert [model.tokenizer.token_text(i) for i in ids] == ["he", "y", ",", " t", "he"]
        assert (model.tokenizer.bos, model.tokenizer.eos, model.tokenizer.pad) == (0, 1, 2)
        assert not model.tokenizer.starts_with_bos
    first, second = (
        generate.generate(model, IDS[:2, :4], new=4, temperature=1.0, seed=1) for model in pair
    )
    np.testing.assert_array_equal(first, second)


def test_other_architectures(other):
    name, model = other
    run = model.run(IDS, capture=model.sites)
    kinds = {site.split(".")[0] for site in model.sites}
    assert kinds == set(loader.base.KINDS) - ({"resid_mid"} if name == "gpt_neox" else set())
    captured = run.captured
    for i in range(3):
        total = captured[f"resid_pre.{i}"] + captured[f"attn_out.{i}"] + captured[f"mlp_out.{i}"]
        _close(captured[f"resid_post.{i}"], total)
        if name != "gpt_neox":
            _close(
                captured[f"resid_mid.{i}"],
                captured[f"resid_pre.{i}"] + captured[f"attn_out.{i}"],
            )
    for site in ("resid_pre.0", "z.1", "attn_out.2", "mlp_hidden.1", "resid_post.2"):
        same = model.run(IDS, edits={site: edit.replace(captured[site])})
        assert abs(same.logits - run.logits).max() <= 1e-5
        changed = model.run(IDS, edits={site: edit.ablate()})
        assert abs(changed.logits - run.logits).max() > 1e-4


def test_without_logits_it_stops_early(pair, monkeypatch):
    model = pair[0]
    calls = []
    handle = model.model.model.layers[2].register_forward_hook(lambda *_: calls.append(1))
    run = model.run(IDS, capture=("resid_post.1", "z.0"), logits=False)
    handle.remove()
    assert run.logits is None
    assert calls == []
    assert list(run.captured) == ["resid_post.1", "z.0"]


def test_bfloat16(pair, tmp_path):
    tiny.write(tmp_path)
    _save_tokenizer(tmp_path)
    model = loader.load(str(tmp_path), dtype="bfloat16")
    run = model.run(IDS, capture=("z.1",), edits={"z.1": edit.scale(1.0)})
    assert run.captured["z.1"].dtype == jnp.bfloat16
    wanted = pair[0].run(IDS).logits
    assert jnp.linalg.norm(run.logits - wanted) < 0.05 * jnp.linalg.norm(wanted)


def test_a_model_in_a_folder_is_called_like_the_folder(pair, tmp_path, monkeypatch):
    tiny.write(tmp_path / "mine")
    _save_tokenizer(tmp_path / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loader.load("~/mine").name == folder.load(str(tmp_path / "mine")).name == "mine"


@pytest.mark.parametrize("device", ["cuda", "nonesuch"])
def test_a_device_that_is_not_there_is_said_in_one_line(tmp_path, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    tiny.write(tmp_path)
    _save_tokenizer(tmp_path)
    with pytest.raises(errors.UserError, match=f"config.lm.device='{device}': .*choose") as raised:
        loader.load(str(tmp_path), device=device)
    assert "\n" not in str(raised.value)


def test_bad_input_is_refused_in_one_line(pair, tmp_path):
    with pytest.raises(errors.UserError, match=r"'mlp.3' is no site of .*resid_pre\.0-3"):
        pair[0].run(IDS, capture=("mlp.3",))
    with pytest.raises(errors.DataError, match=str(tmp_path)) as raised:
        loader.load(str(tmp_path))
    assert "\n" not in str(raised.value)
    with pytest.raises(errors.UserError, match="dtype='int8'"):
        loader.load("x", dtype="int8")
