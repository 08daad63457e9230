import os

import pytest

from sae_jax import files


def test_replace_leaves_the_old_file_whole_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.replace(path, "old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, "new")
    assert path.read_text() == "old"
    files.replace(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_replace_never_opens_the_file_itself(tmp_path):
    path, link = tmp_path / "config.json", tmp_path / "link"
    files.replace(path, "old")
    os.link(path, link)
    files.replace(path, "new")
    assert (path.read_text(), link.read_text()) == ("new", "old")
