import dataclasses
import json
import logging
import os
import resource
import shutil

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from sae_jax import errors, files
from sae_jax.store import codec, intact, plan as plans, reader, sequences, writer

SITES = {"resid_post.0": 6, "mlp_out.1": 4}
PLAN = plans.Plan(SITES, "float32", {"train": [5, 5, 3], "test": [4]}, {"of": "a test"})


def _rows(number, dtype="float32"):
    draw = np.random.RandomState(number)
    count = PLAN.shards[number]
    return {site: draw.standard_normal((count, width)) for site, width in SITES.items()}


def _write(folder, plan=PLAN, only=None, tokens=None):
    found = writer.Writer(folder, plan, tokens)
    for number in found.missing() if only is None else only:
        special = np.arange(plan.shards[number]) == 0
        found.write(number, _rows(number), special)
    return found


def _bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("dtype", codec.DTYPES)
def test_what_is_read_is_what_was_written_as_near_as_the_type_allows(tmp_path, dtype):
    plan = dataclasses.replace(PLAN, dtype=dtype)
    _write(tmp_path, plan).finish()
    store = reader.Store(tmp_path)
    everything = {
        site: np.concatenate([_rows(number)[site] for number in range(4)]) for site in SITES
    }
    rows = np.array([16, 0, 7, 4, 5, 7, 12])
    for site, x in everything.items():
        raw = store.read(site, rows)
        found = codec.decode(raw[""], raw.get("/scale"))
        exact = {
            "float32": x.astype(np.float32),
            "bfloat16": x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32),
            "float16": x.astype(np.float16).astype(np.float32),
        }
        if dtype == "int8":
            bound = np.abs(x[rows]).max(axis=1, keepdims=True) / 127 * 0.5001
            assert (np.abs(found - x[rows]) <= bound).all()
        else:
            np.testing.assert_array_equal(found, exact[dtype][rows])
        on_device = codec.decode(*(jnp.asarray(raw[name]) for name in raw))
        np.testing.assert_array_equal(np.asarray(on_device), found)


def test_rows_of_zeros_survive_eight_bits():
    found = codec.encode(jnp.zeros((2, 3)), "int8")
    np.testing.assert_array_equal(codec.decode(found[""], found["/scale"]), np.zeros((2, 3)))


def test_statistics_are_of_the_first_split_without_what_is_excluded(tmp_path):
    found = writer.Writer(tmp_path, PLAN)
    kept = {site: [] for site in SITES}
    for number in range(4):
        rows = _rows(number)
        if number == 1:
            rows["mlp_out.1"][3] *= 1000  # A sink.
        special = np.arange(PLAN.shards[number]) == 0
        found.write(number, rows, special)
        if number < 3:
            stay = ~special & ~((np.arange(len(special)) == 3) & (number == 1))
            for site in SITES:
                kept[site].append(rows[site][stay])
    assert found.finish()
    store = reader.Store(tmp_path)
    assert store.excluded.tolist() == [0, 5, 8, 10, 13]
    assert store.manifest["special"] == 4
    assert store.manifest["sites"]["mlp_out.1"]["outliers"] == 1
    assert store.manifest["sites"]["resid_post.0"]["outliers"] == 0
    for site in SITES:
        x = np.concatenate(kept[site]).astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(store.statistics[f"{site}/mean"], x.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(
            store.statistics[f"{site}/mean_square"], (x**2).mean(axis=0), rtol=1e-9
        )
        norms = np.linalg.norm(x, axis=1)
        assert store.manifest["sites"][site]["mean_norm"] == pytest.approx(norms.mean())
        assert store.manifest["sites"][site]["mean_square_norm"] == pytest.approx((norms**2).mean())


@pytest.mark.parametrize(("split", "kept"), [("train", range(13)), ("test", range(13, 17))])
def test_numbers_of_kept_rows_have_no_gaps(tmp_path, split, kept):
    _write(tmp_path).finish()
    store = reader.Store(tmp_path)
    found = reader.Kept(store, split)
    there = [row for row in kept if row not in (0, 5, 10, 13)]
    assert found.length == len(there)
    assert found.rows(np.arange(found.length)).tolist() == there
    assert found.rows(np.arange(found.length)[::-1]).tolist() == there[::-1]


def test_who_goes_on_leaves_the_same_bytes(tmp_path):
    _write(tmp_path / "whole").finish()
    found = _write(tmp_path / "parts", only=[2, 0])
    assert not found.finish()
    left = tmp_path / "parts" / "shards" / ".00001.safetensors.0f.partial"
    left.write_bytes(b"half of it")
    os.utime(left, (0, 0))
    (tmp_path / "parts" / "shards" / "00001.safetensors").write_bytes(b"no size is known of this")
    again = writer.Writer(tmp_path / "parts", PLAN)
    assert again.missing() == [1, 3]
    for number in again.missing():
        again.write(number, _rows(number), np.arange(PLAN.shards[number]) == 0)
    assert again.finish()
    assert _bytes(tmp_path / "parts") == _bytes(tmp_path / "whole")


def test_many_writers_make_one_store(tmp_path):
    _write(tmp_path / "one").finish()
    ends = []
    for process in range(3):
        found = writer.Writer(tmp_path / "many", PLAN)
        for number in found.missing(process, 3):
            found.write(number, _rows(number), np.arange(PLAN.shards[number]) == 0)
        ends.append(found.finish())
    assert ends == [False, False, True]
    assert _bytes(tmp_path / "many") == _bytes(tmp_path / "one")


def test_another_plan_is_refused(tmp_path):
    writer.Writer(tmp_path, PLAN)
    other = dataclasses.replace(PLAN, dtype="int8", source={"of": "something else"})
    with pytest.raises(errors.UserError, match="another dtype and source: choose another folder"):
        writer.Writer(tmp_path, other)


def test_a_store_that_does_not_fit_is_refused_before_it_begins(tmp_path):
    plan = plans.Plan({"a": 4096}, "float32", {"train": [10**12]}, {})
    with pytest.raises(errors.UserError, match="GB of room and .* GB are to come"):
        writer.Writer(tmp_path, plan)


def test_a_full_disk_is_said_in_one_line_and_nothing_half_counts(tmp_path, monkeypatch):
    found = writer.Writer(tmp_path, PLAN)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(errors.UserError, match="No space left on device.*start again"):
            found.write(0, _rows(0))
    assert writer.Writer(tmp_path, PLAN).missing() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["statistics", "excluded", "manifest"])
def test_a_disk_that_fills_up_at_the_end_is_said_and_the_end_made_later(
    tmp_path, monkeypatch, name
):
    found = _write(tmp_path / "store")
    whole = files.replace

    def full(path, content):
        if path.name.startswith(name):
            raise OSError(28, "No space left on device")
        whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        with pytest.raises(errors.UserError, match="No space left on device.*start again"):
            found.finish()
    with pytest.raises(errors.DataError, match="not finished: 4 of 4 shards"):
        reader.Store(tmp_path / "store")
    assert found.finish()
    _write(tmp_path / "other").finish()
    assert _bytes(tmp_path / "store") == _bytes(tmp_path / "other")


def test_more_shards_than_files_may_be_open_are_finished_and_read(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plan = plans.Plan({"a": 1}, "float32", {"train": [1] * 400}, {})
    found = writer.Writer(tmp_path, plan)
    for number in range(400):
        found.write(number, {"a": np.ones((1, 1))})
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert found.finish()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
        opened = [reader.Store(tmp_path) for _ in range(3)]  # As a run on several stores does.
        for store in opened:
            assert len(store.read("a", np.arange(400))[""]) == 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("checksums", [True, False])
def test_too_many_open_files_are_no_damage(tmp_path, monkeypatch, checksums):
    _write(tmp_path).finish()

    def full(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(*((intact, "crc32") if checksums else (np, "memmap")), full)
    with pytest.raises(errors.UserError, match="Too many open files.*ulimit -n") as raised:
        reader.Store(tmp_path, damaged="skip", checksums=checksums)
    assert not isinstance(raised.value, errors.DataError)


@pytest.mark.parametrize(("dtype", "number"), [("float32", np.nan), ("float16", 1e6)])
def test_a_number_that_cannot_be_kept_is_named(tmp_path, dtype, number):
    found = writer.Writer(tmp_path, dataclasses.replace(PLAN, dtype=dtype))
    rows = _rows(2)
    rows["mlp_out.1"][1, 2] = number
    with pytest.raises(errors.DataError, match=f"shard 2: row 1 of mlp_out.1 is not .* {dtype}"):
        found.write(2, rows)


def test_rows_of_another_shape_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match=r"shard 3: resid_post.0 has shape \(5, 6\)"):
        writer.Writer(tmp_path, PLAN).write(3, _rows(0))


def test_what_is_no_store_or_unfinished_is_said(tmp_path):
    with pytest.raises(errors.DataError, match="no store of activations"):
        reader.Store(tmp_path / "nothing")
    _write(tmp_path, only=[0, 3])
    with pytest.raises(errors.DataError, match="not finished: 2 of 4 shards"):
        reader.Store(tmp_path)


def test_a_site_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    _write(tmp_path).finish()
    with pytest.raises(errors.DataError, match='no site "resid.7": it has resid_post.0, mlp_out.1'):
        reader.Store(tmp_path).read("resid.7", np.array([0]))


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_shard_is_named_or_left_out(tmp_path, how):
    _write(tmp_path).finish()
    path = plans.shard_path(tmp_path, 1)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    remedy = "delete it and run the same dump again" if how == "cut" else "writes it anew, or leave"
    with pytest.raises(errors.DataError, match=rf"00001\.safetensors is .*{remedy}"):
        reader.Store(tmp_path)
    store = reader.Store(tmp_path, damaged="skip")
    assert store.skipped == [path]
    found = reader.Kept(store, "train")
    assert found.rows(np.arange(found.length)).tolist() == [1, 2, 3, 4, 11, 12]
    assert store.read("mlp_out.1", found.rows(np.arange(6)))[""].shape == (6, 4)
    assert store.verify() == []


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


def test_a_flipped_bit_is_found_where_it_is(tmp_path, caplog):
    _write(tmp_path).finish()
    path = plans.shard_path(tmp_path, 2)
    reader.Store(tmp_path)
    _flip(path)
    assert reader.Store(tmp_path, checksums=False).verify() == [path]
    for _ in range(2):
        with pytest.raises(errors.DataError, match=r"00002\.safetensors is damaged: delete it"):
            reader.Store(tmp_path)
    with caplog.at_level(logging.WARNING, "absl"):
        store = reader.Store(tmp_path, damaged="skip")
    assert store.skipped == [path]
    assert "00002.safetensors is damaged: its 3 rows are left out" in caplog.text
    assert set(range(10, 13)) < set(store.excluded.tolist())


def test_a_shard_that_was_right_is_not_read_again_until_it_changes(tmp_path, monkeypatch):
    _write(tmp_path).finish()
    read, whole = [], intact.crc32

    def counted(path):
        read.append(path.name)
        return whole(path)

    monkeypatch.setattr(intact, "crc32", counted)
    reader.Store(tmp_path)
    assert sorted(read) == [f"{number:05d}.safetensors" for number in range(4)]
    reader.Store(tmp_path)
    assert len(read) == 4
    os.utime(plans.shard_path(tmp_path, 1), (1, 1))
    reader.Store(tmp_path)
    assert read[4:] == ["00001.safetensors"]
    (tmp_path / "checked.json").unlink()
    reader.Store(tmp_path, checksums=False)
    assert len(read) == 5


def test_what_verify_found_damaged_is_trusted_by_no_one(tmp_path):
    _write(tmp_path).finish()
    path = plans.shard_path(tmp_path, 2)
    reader.Store(tmp_path)
    _flip(path)
    # As if it had rotted on the disk, which no clock tells.
    about = path.stat()
    entry = [writer.about(path)["crc32"], about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    known = json.loads((tmp_path / "checked.json").read_text())
    assert known[path.name][:2] == entry[:2]
    (tmp_path / "checked.json").write_text(json.dumps({**known, path.name: entry}))
    assert reader.Store(tmp_path).verify() == [path]
    assert path.name not in json.loads((tmp_path / "checked.json").read_text())
    assert reader.Store(tmp_path, damaged="skip").skipped == [path]


def test_a_copy_is_compared_although_it_keeps_times(tmp_path):
    _write(tmp_path / "store").finish()
    reader.Store(tmp_path / "store")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    path = plans.shard_path(tmp_path / "copy", 2)
    times = path.stat()
    assert times.st_mtime_ns == plans.shard_path(tmp_path / "store", 2).stat().st_mtime_ns
    _flip(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(errors.DataError, match=r"00002\.safetensors is damaged"):
        reader.Store(tmp_path / "copy")


def test_of_a_store_that_cannot_be_written_the_process_remembers(tmp_path, monkeypatch):
    _write(tmp_path).finish()

    def read_only(path, content):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files, "replace", read_only)
    reader.Store(tmp_path)
    monkeypatch.setattr(intact, "crc32", None)
    reader.Store(tmp_path)


def test_what_cannot_be_read_is_named_or_left_out(tmp_path, monkeypatch):
    _write(tmp_path).finish()
    path, whole = plans.shard_path(tmp_path, 1), intact.crc32

    def failing(asked):
        if asked == path:
            raise OSError(5, "Input/output error")
        return whole(asked)

    monkeypatch.setattr(intact, "crc32", failing)
    said = r"00001\.safetensors cannot be read \(Input/output error\): delete it"
    with pytest.raises(errors.DataError, match=said):
        reader.Store(tmp_path)
    assert reader.Store(tmp_path, damaged="skip").skipped == [path]
    assert reader.Store(tmp_path, checksums=False).verify() == [path]


@pytest.mark.parametrize("name", ["sequences", "statistics"])
def test_tokens_and_statistics_are_checked_and_can_be_written_again(tmp_path, name):
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    lengths = np.array([5, 5, 3, 4], np.int32)
    tokens = sequences.Sequences(ids, lengths, np.arange(4, dtype=np.int32))
    _write(tmp_path, tokens=tokens).finish()
    before, path = _bytes(tmp_path), tmp_path / f"{name}.safetensors"
    _flip(path)
    with pytest.raises(errors.DataError, match=rf"{name}\.safetensors is damaged: run the"):
        getattr(reader.Store(tmp_path), name)
    assert reader.Store(tmp_path).verify() == [path]
    assert writer.Writer(tmp_path, PLAN, tokens).finish()
    (tmp_path / "checked.json").unlink()
    assert _bytes(tmp_path) == before
    manifest = json.loads((tmp_path / plans.MANIFEST).read_text())
    del manifest["files"]  # As an older version wrote it.
    (tmp_path / plans.MANIFEST).write_text(json.dumps(manifest))
    assert getattr(reader.Store(tmp_path), name) is not None


@pytest.mark.parametrize("name", ["sequences", "statistics"])
def test_a_file_that_is_gone_is_missed(tmp_path, name):
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    lengths = np.array([5, 5, 3, 4], np.int32)
    tokens = sequences.Sequences(ids, lengths, np.arange(4, dtype=np.int32))
    _write(tmp_path, tokens=tokens).finish()
    path = tmp_path / f"{name}.safetensors"
    content = path.read_bytes()
    path.unlink()
    for checksums in (True, False):
        with pytest.raises(errors.DataError, match=rf"{name}\.safetensors is not there: run the"):
            reader.Store(tmp_path, checksums=checksums)
    store = reader.Store(tmp_path, damaged="skip", checksums=False)
    assert store.verify() == [path]
    with pytest.raises(errors.DataError, match=rf"{name}\.safetensors is not there: run the"):
        getattr(store, name)
    assert writer.Writer(tmp_path, PLAN, tokens).finish()
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01", "another"])
def test_the_list_of_excluded_rows_is_checked(tmp_path, content):
    _write(tmp_path).finish()
    path = tmp_path / writer.EXCLUDED
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    elif content == "another":
        np.save(path, np.arange(3))
    else:
        path.write_bytes(content)
    store = reader.Store(tmp_path)
    with pytest.raises(errors.DataError, match="excluded.npy is damaged: run the same dump again"):
        _ = store.excluded
    assert store.verify() == [path]
    assert writer.Writer(tmp_path, PLAN).finish()
    assert path.read_bytes() == whole


def test_a_shard_that_comes_out_otherwise_is_of_the_store_again(tmp_path):
    """As on another device, whose numbers differ in their last bits."""
    _write(tmp_path).finish()
    path = plans.shard_path(tmp_path, 2)
    path.unlink()
    again = writer.Writer(tmp_path, PLAN)
    assert again.missing() == [2]
    rows = {site: x * np.float32(1 + 1e-6) for site, x in _rows(2).items()}
    again.write(2, rows, np.arange(PLAN.shards[2]) == 0)
    assert again.finish()
    store = reader.Store(tmp_path)
    assert store.manifest["shards"][2] == writer.about(path)
    assert store.verify() == []


def test_tokens_that_another_dump_left_are_not_kept(tmp_path):
    """As one leaves that is killed before its plan is written."""
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    lengths = np.array([5, 5, 3, 4], np.int32)
    tokens = sequences.Sequences(ids, lengths, np.arange(4, dtype=np.int32))
    sequences.save(tmp_path, dataclasses.replace(tokens, ids=ids[::-1]))
    _write(tmp_path, tokens=tokens).finish()
    np.testing.assert_array_equal(reader.Store(tmp_path).sequences.ids, ids)


def test_parts_that_killed_writers_left_go_when_one_begins_or_ends(tmp_path):
    found = _write(tmp_path)
    left = tmp_path / "shards" / ".00001.safetensors.0f.partial"
    for go_on in (found.finish, found.finish, lambda: writer.Writer(tmp_path, PLAN)):
        left.write_bytes(b"half of it")
        os.utime(left, (0, 0))
        go_on()
        assert not left.exists()


def test_rows_know_their_tokens(tmp_path):
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    lengths = np.array([5, 5, 3, 4], np.int32)
    tokens = sequences.Sequences(ids, lengths, np.array([0, 0, 1, 2], np.int32))
    _write(tmp_path, tokens=tokens).finish()
    found = reader.Store(tmp_path).sequences
    rows = np.array([0, 4, 5, 12, 16])
    sequence, position = found.places(rows)
    assert sequence.tolist() == [0, 0, 1, 2, 3]
    assert position.tolist() == [0, 4, 0, 2, 3]
    assert found.tokens(rows).tolist() == [0, 4, 6, 14, 21]


def test_a_store_of_another_version_is_refused(tmp_path):
    _write(tmp_path).finish()
    path = tmp_path / plans.PLAN
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 7}))
    with pytest.raises(errors.DataError, match="another version"):
        reader.Store(tmp_path)
