"""Your own texts: FILE.txt, a document, or FILE.jsonl, a document a line; or a folder of both."""

import json
from pathlib import Path

import numpy as np

from sae_jax import errors
from sae_jax.text import base


def load(path: str, text_key: str = "text", label_key: str = "label") -> base.Texts:
    """Returns the documents of a file or, by name, of the files of a folder and those below it.

    Args:
      path: of the file or folder.
      text_key: what a line of .jsonl calls its text.
      label_key: what it calls its class, if lines have one; another document has none.
    """
    if not path:
        raise errors.DataError("the texts files need --config.text.path=FILE or a folder")
    where = Path(path).expanduser()
    found = sorted(p for p in where.rglob("*") if p.suffix in (".txt", ".jsonl"))
    chosen = [where] if where.is_file() else found
    if not chosen:
        raise errors.DataError(f"there is no .txt and no .jsonl in {where}")
    documents, names = [], []
    for file in chosen:
        for text, name in _documents(file, text_key, label_key):
            documents.append(text)
            names.append(name)
    classes = sorted({name for name in names if name is not None})
    number = {name: place for place, name in enumerate(classes)}
    label = (
        np.array([-1 if name is None else number[name] for name in names], np.int32)
        if classes
        else None
    )
    return base.Texts(where.name, documents, label, classes)


def _documents(path: Path, text_key: str, label_key: str) -> list[tuple[str, str | None]]:
    """Returns text and class of each document of a file."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f"cannot read {path} ({error}): save it as UTF-8") from error
    if path.suffix != ".jsonl":
        return [(content, None)]
    found = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(line)
            label = entry.get(label_key)
            found.append((str(entry[text_key]), None if label is None else str(label)))
        except (ValueError, KeyError, AttributeError) as error:
            raise errors.DataError(
                f'{path}, line {number}, is no JSON object with "{text_key}": mend it, or name '
                "another key with --config.text.text_key"
            ) from error
    return found
