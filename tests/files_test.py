import os
import threading

import pytest

from sae_jax import files


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_replace_leaves_the_old_file_alone_and_whole_when_it_fails(tmp_path, monkeypatch, step):
    path = tmp_path / "config.json"
    files.replace(path, "old")

    def fail(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            files.replace(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]
    files.replace(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([i]) * 100_000 for i in range(8)]
    writers = [threading.Thread(target=files.replace, args=(path, each)) for each in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_replace_never_opens_the_file_itself(tmp_path):
    path, link = tmp_path / "config.json", tmp_path / "link"
    files.replace(path, "old")
    os.link(path, link)
    files.replace(path, "new")
    assert (path.read_text(), link.read_text()) == ("new", "old")
