"""Models in folders, whole and damaged."""

import json

import ml_dtypes
import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import folder
from tests.lm import tiny

pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")


@pytest.fixture
def path(tmp_path, tensors):
    tiny.write(tmp_path, tensors=tensors)
    return tmp_path


def _params(model):
    return {**model.params["blocks"], "embed": model.params["embed"], "norm": model.params["norm"]}


def test_shards_hold_what_one_file_holds(tmp_path, tensors, model):
    tiny.write(tmp_path, tensors=tensors, shards=3)
    found = _params(folder.load(str(tmp_path)))
    for name, array in _params(model).items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_files_of_16_bits_are_read(tmp_path, tensors, dtype):
    narrow = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    tiny.write(tmp_path, tensors=narrow)
    found = folder.load(str(tmp_path)).params["blocks"]["wv"][2]
    np.testing.assert_array_equal(
        found, narrow["model.layers.2.self_attn.v_proj.weight"].astype(np.float32).T
    )


def test_tokenizer_shows_tokens_as_they_stand_in_a_text(model):
    tokenizer = model.tokenizer
    ids = tokenizer.encode("hey, the tea")
    assert tokenizer.decode(ids) == "hey, the tea"
    assert [tokenizer.token_text(i) for i in ids] == ["he", "y", ",", " t", "he", " t", "e", "a"]
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (0, 1, 2)
    assert not tokenizer.starts_with_bos


def test_bos_stands_before_texts_if_the_tokenizer_says_so(path):
    described = {"bos_token": "<s>", "add_bos_token": True}
    (path / "tokenizer_config.json").write_text(json.dumps(described))
    model = folder.load(str(path))
    assert model.batch(["hey"])[0][0, 0] == 0
    assert model.tokenizer.encode("hey")[0] != 0


def _with_bos(path, text="<s>"):
    """Has tokenizer.json put a token before each text, as that of Llama 3 does."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{text} $A", special_tokens=[(text, tokenizer.token_to_id(text))]
    )
    tokenizer.save(str(path / "tokenizer.json"))


def test_without_its_config_the_special_tokens_of_a_tokenizer_are_those_of_the_model(path):
    (path / "tokenizer_config.json").unlink()
    _edited(path, bos_token_id=0, eos_token_id=[1, 2], pad_token_id=2)
    found = folder.load(str(path)).tokenizer
    assert (found.bos, found.eos, found.pad, found.starts_with_bos) == (0, 1, 2, False)
    _with_bos(path)
    assert folder.load(str(path)).tokenizer.starts_with_bos
    _edited(path)
    found = folder.load(str(path)).tokenizer
    assert (found.bos, found.eos, found.starts_with_bos) == (0, None, True)


def test_a_tokenizer_config_without_bos_is_believed(path):
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": None}))
    _edited(path, bos_token_id=0)
    assert folder.load(str(path)).tokenizer.bos is None


def _edited(path, **changes):
    described = tiny.SIZES | changes
    kept = {key: value for key, value in described.items() if value is not None}
    (path / "config.json").write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM is not supported here"),
        ({"architectures": None, "model_type": "gpt2"}, "gpt2 is not supported here"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported"),
        ({"attention_bias": True}, "attention_bias=True is not supported"),
        ({"intermediate_size": None}, "does not state intermediate_size"),
        ({"intermediate_size": 25}, r"gate_proj.weight has shape \(24, 16\).* make it \(25, 16\)"),
        ({"vocab_size": 41}, r"embed_tokens.weight has shape \(40, 16\)"),
        ({"num_hidden_layers": 5}, r"model\.safetensors: model\.layers\.4.* cannot be read"),
        ({"num_key_value_heads": 3}, "4 heads of 6 numbers cannot share 3"),
        ({"hidden_size": "16"}, "hidden_size='16' is no number of them"),
        ({"num_attention_heads": 0}, "num_attention_heads=0 is no number of them"),
        ({"rms_norm_eps": "small"}, "config.json: rms_norm_eps='small' is no number"),
        ({"rope_theta": [1]}, r"config.json: rope_theta=\[1\] is no number"),
        ({"rope_scaling": "linear"}, "config.json: rope_scaling='linear' is no JSON object"),
        ({"rope_scaling": {"type": "linear"}}, "config.json: RoPE scaling 'linear' does not state"),
        (
            {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0}},
            "RoPE scaling 'llama3' does not state high_freq_factor",
        ),
        (
            {"rope_scaling": tiny.LLAMA_3 | {"factor": "four"}},
            "RoPE scaling 'llama3': factor='four' is no number",
        ),
        ({"rope_scaling": {"rope_type": "yarn"}}, "RoPE scaling 'yarn' is not supported"),
    ],
)
def test_what_is_not_supported_or_does_not_fit_is_named(path, changes, message):
    _edited(path, **changes)
    with pytest.raises(errors.DataError, match=message) as raised:
        folder.load(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json in"),
        ("tokenizer.json", b"{", "tokenizer.json is damaged"),
        ("config.json", None, "config.json cannot be read"),
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "holds no JSON object"),
        ("model.safetensors", None, "no model.safetensors and no index"),
        ("model.safetensors", b"", "model.safetensors: .* cannot be read"),
    ],
)
def test_missing_and_damaged_files_are_named(path, name, content, message):
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    with pytest.raises(errors.DataError, match=message) as raised:
        folder.load(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kept", [5, 100, 5000])
def test_truncated_weights_are_named(path, kept):
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(errors.DataError, match=r"model\.safetensors: .* cannot be read"):
        folder.load(str(path))


def test_a_missing_shard_is_named(tmp_path, tensors):
    tiny.write(tmp_path, tensors=tensors, shards=2)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(errors.DataError, match=r"model-1\.safetensors: .* cannot be read"):
        folder.load(str(tmp_path))


def test_other_mistakes(tmp_path, path):
    with pytest.raises(errors.DataError, match="is no folder"):
        folder.load(str(tmp_path / "nowhere"))
    with pytest.raises(errors.UserError, match="dtype='float16'"):
        folder.load(str(path), dtype="float16")
