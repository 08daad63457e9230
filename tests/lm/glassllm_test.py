"""glassllm, against the package's own forward pass."""

import importlib

import numpy as np
import pytest

from sae_jax import errors
from sae_jax.lm import base, edit, glassllm as loader

glassllm = pytest.importorskip("glassllm")

TEXT = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
    "nothing to do: once or twice she had peeped into the book her sister was reading."
)
# The names of the package's tracer.
_TRACED = {
    "attn_out": "attn.out",
    "resid_mid": "resid.attn",
    "mlp_in": "norm.ffn",
    "mlp_hidden": "ffn.act",
    "mlp_out": "ffn.down",
    "resid_post": "resid.ffn",
}


@pytest.fixture(scope="module")
def model():
    return loader.load()


@pytest.mark.parametrize("language", ["en", "pt"])
def test_logits_are_those_of_the_package(language, model):
    model = model if language == "en" else loader.load(language)
    reference, _ = glassllm.load_pretrained(language)
    ids = np.random.RandomState(0).randint(4, 1024, (2, 48)).astype(np.int32)
    found = model.run(ids).logits
    assert abs(reference(ids).data - np.asarray(found)).max() <= 1e-4


def test_sites_are_those_of_the_package(model):
    ids, _ = model.batch([TEXT], length=48)
    reference, tracer = glassllm.load_pretrained("en")[0], glassllm.Tracer()
    reference(ids, trace=tracer)
    captured = model.run(ids, capture=model.sites, logits=False).captured
    for site, activation in captured.items():
        kind, layer = base.split(site)
        if kind in _TRACED:
            wanted = tracer.get(_TRACED[kind], layer).value
            np.testing.assert_allclose(activation[0], wanted, rtol=0, atol=1e-4)


def test_text_becomes_the_tokens_of_the_package(model):
    tokenizer = model.tokenizer
    ids = tokenizer.encode(TEXT)
    assert ids == glassllm.load_pretrained("en")[1].encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert "".join(map(tokenizer.token_text, ids)) == TEXT
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == tuple(
        tokenizer.tokenizer.token_to_id[name] for name in ("<pad>", "<bos>", "<eos>")
    )


def test_it_knows_its_text_and_an_ablation_hurts(model):
    ids, mask = model.batch([TEXT])

    def loss(edits):
        losses = model.losses(model.run(ids, mask, edits=edits).logits, ids, mask)
        return float(losses.sum() / model.targets(ids, mask).sum())

    own = loss({})
    assert own < 4.6 < np.log(1024)
    assert loss({"resid_post.2": edit.ablate()}) > own + 1


def test_sizes(model):
    assert (model.name, model.n_layers, model.d_model) == ("glassllm-en", 4, 128)
    assert (model.vocab, model.context) == (1024, 128)
    assert model.width("mlp_hidden.3") == 341


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    def missing(name, *args):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(errors.UserError, match=r"glassllm is not installed: pip install .*\[llm\]"):
        loader.load()


def test_other_languages_are_refused():
    with pytest.raises(errors.UserError, match="language='fr'"):
        loader.load("fr")
