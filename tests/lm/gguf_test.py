"""GGUF files, written by the package `gguf` as llama.cpp's converter does."""

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import gguf as reader
from tests.lm import tiny

gguf = pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

# Quantised rows are of 32 numbers or a multiple.
SIZES = tiny.SIZES | {"hidden_size": 32, "intermediate_size": 64, "head_dim": 8}
_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
IDS = np.random.RandomState(1).randint(3, 40, (2, 9)).astype(np.int32)


def _neighbours(weight, heads):
    """Reorders rows of q or k as llama.cpp's converter does."""
    n = len(weight) // heads // 2
    return weight.reshape(heads, 2, n, -1).swapaxes(1, 2).reshape(weight.shape)


def _name(name, sizes, tensor):
    """Returns a tensor's name and value in GGUF."""
    plain = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    plain["rope_freqs"] = "rope_freqs"
    part = name.removesuffix(".weight")
    if part in plain:
        return f"{plain[part]}.weight", tensor
    _, _, block, part = part.split(".", 3)
    heads = {
        "self_attn.q_proj": sizes["num_attention_heads"],
        "self_attn.k_proj": sizes["num_key_value_heads"],
    }
    if part in heads:
        tensor = _neighbours(tensor, heads[part])
    return f"blk.{block}.{_NAMES[part]}.weight", tensor


def write(path, tensors, kind=None, sizes=SIZES, architecture="llama", leave_out=(), **keys):
    """Writes a file; `keys` replace those of the tokenizer."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(sizes["max_position_embeddings"])
    writer.add_embedding_length(sizes["hidden_size"])
    writer.add_block_count(sizes["num_hidden_layers"])
    if "feed_forward" not in leave_out:
        writer.add_feed_forward_length(sizes["intermediate_size"])
    writer.add_head_count(sizes["num_attention_heads"])
    writer.add_head_count_kv(sizes["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(sizes["rms_norm_eps"])
    writer.add_rope_freq_base(sizes["rope_theta"])
    writer.add_rope_dimension_count(sizes["head_dim"])
    vocabulary = tiny.tokenizer().get_vocab()
    texts = sorted(vocabulary, key=vocabulary.get)
    texts += [f"<{i}>" for i in range(len(texts), sizes["vocab_size"])]
    if keys.get("model", "gpt2"):
        writer.add_tokenizer_model(keys.get("model", "gpt2"))
    writer.add_tokenizer_pre(keys.get("pre", "gpt-2"))
    writer.add_token_list(texts)
    writer.add_token_types([3] * 3 + [1] * (len(texts) - 3))
    writer.add_token_merges(["Ġ t", "h e"])
    writer.add_bos_token_id(0)
    if "add_bos" in keys:
        writer.add_add_bos_token(keys["add_bos"])
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, tensor in tensors.items():
        if name in leave_out:
            continue
        name, tensor = _name(name, sizes, tensor)
        if kind is None or tensor.ndim == 1:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def own():
    return tiny.weights(SIZES)


@pytest.mark.parametrize("kind", [None, "F16", "BF16", "Q8_0", "Q4_1"])
def test_a_file_is_read_as_it_was_written(tmp_path, own, kind):
    kind = kind and gguf.GGMLQuantizationType[kind]
    if kind is not None:  # What a quantised file holds is known by undoing it.
        held = {
            name: tensor
            if tensor.ndim == 1
            else gguf.quants.dequantize(gguf.quants.quantize(tensor, kind), kind)
            for name, tensor in own.items()
        }
        assert kind.name == "BF16" or np.abs(held["lm_head.weight"] - own["lm_head.weight"]).max()
    else:
        held = own
    model = reader.load(str(write(tmp_path / "tiny.gguf", own, kind)))
    assert model.name == "tiny"
    for i in range(4):
        for key, part in (("wq", "self_attn.q_proj"), ("wk", "self_attn.k_proj")):
            np.testing.assert_array_equal(
                model.params["blocks"][key][i], held[f"model.layers.{i}.{part}.weight"].T
            )
    if kind is None:
        logits, _ = tiny.forward(SIZES, own, IDS[0])
        np.testing.assert_allclose(model.run(IDS).logits[0], logits, rtol=0, atol=1e-3)
        # As the file has it: pairs of neighbours are turned.
        raw = {
            name: _name(name, SIZES, tensor)[1] if name.startswith("model.layers") else tensor
            for name, tensor in own.items()
        }
        np.testing.assert_allclose(tiny.forward(SIZES, raw, IDS[0], True)[0], logits, atol=1e-9)


def test_without_an_output_matrix_it_is_the_embedding(tmp_path, own):
    path = write(tmp_path / "tied.gguf", own, leave_out=("lm_head.weight",))
    model = reader.load(str(path))
    assert model.config.tied
    assert set(model.params) == {"embed", "norm", "frequency", "blocks"}


def test_changed_frequencies_are_divisors(tmp_path, own):
    factors = np.array([1, 1, 2, 4], np.float32)
    path = write(tmp_path / "a.gguf", own | {"rope_freqs.weight": factors})
    model = reader.load(str(path))
    wanted = 100.0 ** (-np.arange(4) / 4) / factors
    np.testing.assert_allclose(model.params["frequency"], wanted, rtol=1e-6)


def test_the_tokenizer_is_that_of_the_vocabulary(tmp_path, own, model):
    found = reader.load(str(write(tmp_path / "a.gguf", own))).tokenizer
    text = "hey, the tea</s>"
    assert found.encode(text) == model.tokenizer.encode(text)
    assert found.encode(text)[-1] == found.eos == 1
    assert found.decode(found.encode(text)) == text
    assert (found.bos, found.pad, found.starts_with_bos) == (0, 2, False)


@pytest.mark.parametrize("split", ["smollm", "llama-bpe"])
def test_other_splits_keep_texts(tmp_path, own, split):
    found = reader.load(str(write(tmp_path / "a.gguf", own, pre=split))).tokenizer
    assert found.decode(found.encode("hey, the tea")) == "hey, the tea"
    assert found.starts_with_bos == (split == "llama-bpe")  # As llama.cpp has it.


def test_a_file_that_says_whether_texts_begin_with_bos_is_believed(tmp_path, own):
    path = write(tmp_path / "a.gguf", own, pre="llama-bpe", add_bos=False)
    assert not reader.load(str(path)).tokenizer.starts_with_bos


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gpt2"}, "architecture 'gpt2' is not supported, llama is"),
        ({"model": "llama"}, "tokenizer 'llama' with splits 'gpt-2' is not supported"),
        ({"pre": "qwen2"}, "tokenizer 'gpt2' with splits 'qwen2' is not supported"),
        ({"model": None}, "has no tokenizer"),
        ({"leave_out": ("feed_forward",)}, "does not state llama.feed_forward_length"),
        ({"leave_out": ("model.norm.weight",)}, "has no tensor output_norm.weight"),
        ({"sizes": SIZES | {"intermediate_size": 32}}, r"gate_proj.weight has shape \(64, 32\)"),
        ({"sizes": SIZES | {"head_dim": 6}}, "RoPE turns a part of each head"),
    ],
)
def test_what_is_not_supported_or_does_not_fit_is_named(tmp_path, own, changes, message):
    path = write(tmp_path / "a.gguf", own, **changes)
    with pytest.raises(errors.DataError, match=message) as raised:
        reader.load(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (0, "cannot be read"),
        (3, "is no GGUF file"),
        (10, "truncated or damaged"),
        (400, "truncated or damaged"),
        (-1, "is truncated: .* ends"),
        (-5000, "is truncated: .* ends"),
    ],
)
def test_truncated_files_are_named(tmp_path, own, kept, message):
    path = write(tmp_path / "a.gguf", own)
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept >= 0 else len(content) + kept])
    with pytest.raises(errors.DataError, match=rf"a\.gguf.*{message}"):
        reader.load(str(path))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(16))
    with pytest.raises(errors.DataError, match="version 1 of GGUF is not supported"):
        reader.load(str(tmp_path / "a.gguf"))
    with pytest.raises(errors.DataError, match=r"b\.gguf cannot be read"):
        reader.load(str(tmp_path / "b.gguf"))
