import numpy as np
import pytest

from sae_jax.analysis import words
from sae_jax.lm import folder
from sae_jax.text import base as text, brown
from tests.lm import tiny

TAGGED = (
    "the/at hen/nn ''/'' ./.\n a/at bad/jj hen/nn-tl ,/, he/pps",
    "he/pps ``/`` fed/vbd a/at hen/nn",
)


@pytest.fixture(scope="module")
def texts():
    found = [brown.document(tagged) for tagged in TAGGED]
    return text.Texts(
        *("made", [each for each, _ in found]),
        words=[each for _, each in found],
        word_classes=brown.CLASSES,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.write(path)
    return folder.load(str(path))


def _written(tokenizer, ids, label):
    """Returns the letters of a sequence, "|class|" behind each token that ends a word."""
    return "".join(
        tokenizer.token_text(int(token)) + (f"|{brown.CLASSES[of]}|" if of >= 0 else "")
        for token, of in zip(ids, label, strict=True)
    )


def test_a_token_that_ends_a_word_is_of_its_class(model, texts):
    encoded = [model.tokenizer.encode(document) for document in texts.documents]
    ids = np.zeros((3, 40), np.int32)
    # The first text in two sequences, cut inside of a word if it falls so.
    pieces = [encoded[0][:7], encoded[0][7:], encoded[1]]
    for row, piece in zip(ids, pieces, strict=True):
        row[: len(piece)] = piece
    lengths = np.array([len(piece) for piece in pieces])
    label = words.classes(model.tokenizer, ids, lengths, np.array([0, 0, 1]), texts)
    found = [
        _written(model.tokenizer, ids[row, :length], label[row, :length])
        for row, length in enumerate(lengths)
    ]
    # The tokenizer knows no question mark and no quotes, and what follows them is found again.
    assert found[0] + found[1] == (
        "the|determiner| hen|noun|.|punctuation| a|determiner| bad|adjective| hen|noun|"
        ",|punctuation| he|pronoun|"
    )
    assert found[2] == "he|pronoun| fed|verb| a|determiner| hen|noun|"


def test_words_have_the_activations_of_their_last_tokens(model, texts):
    sites = ("resid_post.0", "mlp_out.1")
    found = words.read(model, texts, sites, documents=2, length=12)
    ids = np.array([model.tokenizer.encode(texts.documents[1])], np.int32)[:, :12]
    captured = model.run(ids, capture=sites, logits=False).captured
    label = words.classes(model.tokenizer, ids, np.array([ids.shape[1]]), np.array([1]), texts)[0]
    at = np.flatnonzero(label >= 0)
    at = at[at > 0]  # The first token of a sequence is special.
    mine = found.document == 1
    first = np.concatenate([captured[site][0, at] for site in sites], axis=-1)
    np.testing.assert_allclose(found.x[mine][: len(at)], first, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.label[mine][: len(at)], label[at])


def test_outliers_are_left_out(model, texts):
    everything = words.read(model, texts, ("resid_post.0",), 2, 12)
    norms = np.linalg.norm(everything.x, axis=1)
    some = words.read(model, texts, ("resid_post.0",), 2, 12, largest=float(np.median(norms)))
    assert 0 < len(some.x) < len(everything.x)
    assert np.linalg.norm(some.x, axis=1).max() <= np.median(norms)
