import json

import pytest

from sae_jax import errors
from sae_jax.text import base, brown, files, wikipedia_leads


def test_a_file_a_document_or_a_line_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("one text\nof two lines")
    lines = [{"text": "second", "label": "sport"}, {"text": "third", "label": "art"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    found = files.load(str(tmp_path))
    assert list(found.documents) == ["one text\nof two lines", "second", "third"]
    assert list(found.classes) == ["art", "sport"]
    assert found.label.tolist() == [-1, 1, 0]
    assert files.load(str(tmp_path / "a.txt")).label is None


@pytest.mark.parametrize("line", ["{", '{"words": "x"}', '"text"'])
def test_a_line_that_is_no_document_is_named(tmp_path, line):
    (tmp_path / "b.jsonl").write_text('{"text": "good"}\n' + line)
    with pytest.raises(errors.DataError, match='b.jsonl, line 2, is no JSON object with "text"'):
        files.load(str(tmp_path))


def test_what_holds_no_text_is_said(tmp_path):
    with pytest.raises(errors.DataError, match="no .txt and no .jsonl"):
        files.load(str(tmp_path))
    with pytest.raises(errors.DataError, match="config.text.path=FILE"):
        files.load("")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(errors.DataError, match="has no text in it"):
        files.load(str(tmp_path))
    (tmp_path / "empty.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(errors.DataError, match="save it as UTF-8"):
        files.load(str(tmp_path))
    with pytest.raises(errors.DataError, match="1 documents but 2 labels"):
        base.Texts("x", ["a"], label=[1, 2])


@pytest.fixture
def articles(tmp_path, monkeypatch):
    made = {
        "Bach": {"title": "Bach", "extract": "A composer.", "topic": "People"},
        "Zero": {"title": "Zero", "extract": "A number.", "topic": "Mathematics"},
        "Odd": {"title": "Odd", "extract": "Strange.", "topic": "Uncategorized"},
    }
    content = {"summaries.json": json.dumps(made).encode()}
    monkeypatch.setattr(wikipedia_leads.fetch, "files", lambda recipe, folder: content)


@pytest.mark.usefixtures("articles")
def test_articles_have_topics_or_none():
    found = wikipedia_leads.load()
    assert list(found.documents) == ["A composer.", "A number.", "Strange."]
    assert list(found.classes) == ["Mathematics", "People"]
    assert found.label.tolist() == [1, 0, -1]


@pytest.mark.network
def test_the_published_articles():
    found = wikipedia_leads.load()
    assert len(found.documents) == 10_033
    assert len(found.classes) == 11
    assert (found.label >= 0).sum() == 9_033


TAGGED = {
    "ca02": b"\n\tThe/at judge's/nn$ ``/`` views/nns-hl ''/'' ./.\n",
    "cr01": b"\n\tsans/fw-in 1/2/cd (/( we'll/ppss+md don't/do* )/)\n",
}


def test_texts_of_words_have_parts_of_speech(tmp_path, monkeypatch):
    content = brown.joined(TAGGED)
    monkeypatch.setattr(brown.fetch, "files", lambda recipe, folder: content)
    found = brown.load()
    assert list(found.documents) == ['The judge\'s "views".', "sans 1/2 (we'll don't)"]
    assert [found.classes[label] for label in found.label] == ["reportage", "humor"]
    said = []
    for written, words in zip(found.documents, found.words, strict=True):
        for start, end, label in zip(words.start, words.end, words.label, strict=True):
            said.append((written[start:end], found.word_classes[label] if label >= 0 else ""))
    assert said == [
        *(("The", "determiner"), ("judge's", "noun"), ('"', "punctuation"), ("views", "noun")),
        *(('"', "punctuation"), (".", "punctuation"), ("sans", ""), ("1/2", "numeral")),
        *(("(", "punctuation"), ("we'll", "pronoun"), ("don't", "verb"), (")", "punctuation")),
    ]


@pytest.mark.network
def test_the_brown_corpus_is_what_it_was():
    found = brown.load()
    assert len(found.documents) == 500
    assert sum(len(words.label) for words in found.words) == 1161171
    assert found.documents[0].startswith("The Fulton County Grand Jury said Friday")
