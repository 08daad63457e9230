"""The solar cells, as published and as cached."""

import dataclasses
import hashlib
import io
import pathlib
import struct

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import elpv

SIDE = 12
THIRD, TWO = "0.333333333333333", "0.6666666666666666"
# Ten sound cells of each kind, three defective and two doubtful ones.
CELLS = [("0.0", kind) for kind in ("mono", "poly") for _ in range(10)]
CELLS += [("1.0", "mono"), ("1.0", "poly"), (THIRD, "mono"), (TWO, "poly"), ("1.0", "mono")]


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(CELLS), SIDE, SIDE), np.uint8)


def labels() -> bytes:
    rows = [f"images/cell{i + 1:04d}.png  {p:20} {kind}\n" for i, (p, kind) in enumerate(CELLS)]
    return "".join(rows).encode()


def cached() -> fetch.Files:
    header = struct.pack(">4I", 0x803, len(CELLS), SIDE, SIDE)
    return {"images-idx3-ubyte": header + pictures().tobytes(), "labels.csv": labels()}


def published() -> fetch.Files:
    image = pytest.importorskip("PIL.Image")
    found = {"labels.csv": labels()}
    for i, picture in enumerate(pictures()):
        packed = io.BytesIO()
        image.fromarray(picture).save(packed, "png")
        found[f"images/cell{i + 1:04d}.png"] = packed.getvalue()
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in cached().items()}
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    recipe = dataclasses.replace(elpv.RECIPE, sha256=sha256, routes=())
    monkeypatch.setattr(elpv, "RECIPE", recipe)
    (tmp_path / "cells").mkdir()
    for name, content in cached().items():
        (tmp_path / "cells" / name).write_bytes(content)
    return str(tmp_path / "cells")


def test_sound_cells_are_split_kind_by_kind(folder: str) -> None:
    seen = []
    for split, n in (("train", 6), ("valid", 2), ("test", 2)):
        of_kind = []
        for kind, defects in (("mono", 2), ("poly", 1)):
            data = elpv.load(split, folder, size=SIDE, cell=kind)
            assert data.label is not None
            assert data.label.sum() == (defects if split == "test" else 0)
            assert data.length == n + data.label.sum()
            of_kind.append(data.x)
        both = elpv.load(split, folder, size=SIDE)
        assert both.spec.image_shape == (SIDE, SIDE, 1)
        np.testing.assert_array_equal(
            np.unique(both.x, axis=0), np.unique(np.concatenate(of_kind), axis=0)
        )
        seen.append(both)
    x = np.concatenate([data.x for data in seen])
    certain = [p in ("0.0", "1.0") for p, _ in CELLS]
    flat = pictures().reshape(len(CELLS), -1)
    np.testing.assert_array_equal(np.unique(x, axis=0), np.unique(flat[certain], axis=0))
    assert len(np.unique(x, axis=0)) == len(x)
    assert seen[2].label is not None
    # In the order of the files: the defective cells come last here.
    np.testing.assert_array_equal(seen[2].x[-3:], flat[[20, 21, 24]])
    assert seen[2].label[-3:].tolist() == [1, 1, 1]


def test_doubtful_cells_are_defective_if_asked_for(folder: str) -> None:
    for least, defects in ((1.0, 3), (2 / 3, 4), (1 / 3, 5), (0.5, 4)):
        data = elpv.load("test", folder, size=4, least_probability=least)
        assert data.label is not None
        assert data.label.sum() == defects
        assert data.length == 4 + defects
    with pytest.raises(errors.DataError, match="least_probability=0"):
        elpv.load("test", folder, least_probability=0)
    with pytest.raises(errors.DataError, match='not "thin film"'):
        elpv.load("test", folder, cell="thin film")


def test_smaller_pictures_are_means_over_areas() -> None:
    images = pictures()
    halves = images.reshape(-1, 6, 2, 6, 2).mean((2, 4))
    np.testing.assert_array_equal(elpv.smaller(images, 6), np.floor(halves + 0.5))
    # Areas that cut through pixels: every pixel as 5 x 5 smaller ones.
    fine = images.repeat(5, 1).repeat(5, 2).reshape(-1, 5, 12, 5, 12).mean((2, 4))
    np.testing.assert_array_equal(elpv.smaller(images, 5), np.floor(fine + 0.5))
    np.testing.assert_array_equal(elpv.smaller(images, SIDE), images)
    assert (
        elpv.smaller(np.full((100, 12, 12), 255, np.uint8), 7).tolist() == [[[255] * 7] * 7] * 100
    )
    for size in (0, 13):
        with pytest.raises(errors.DataError, match="12 pixels"):
            elpv.smaller(images, size)


def test_published_pictures_become_the_cached_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = published()
    assert elpv.pack(files) == cached()
    monkeypatch.setattr(elpv, "_PICTURES", tuple(name for name in files if name != "labels.csv"))
    (tmp_path / "images").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert elpv.load("train", str(tmp_path), size=3).x.shape == (12, 9)
    (tmp_path / "images/cell0003.png").write_bytes(files["images/cell0004.png"])
    with pytest.raises(errors.DataError, match=r"elpv: images-idx3-ubyte: .* not .*cell2624\.png"):
        elpv.load("train", str(tmp_path), size=3)
    (tmp_path / "images/cell0003.png").unlink()
    with pytest.raises(errors.DataError, match=r"cell0003\.png.*leave config\.data\.folder empty"):
        elpv.load("train", str(tmp_path), size=3)


def test_without_pillow_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(fetch.RouteFailed, match="pip install pillow"):
        elpv.pack({"labels.csv": labels()})


@pytest.mark.network
def test_downloaded_wheel_has_the_published_counts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path))
    recipe = dataclasses.replace(elpv.RECIPE, routes=elpv.RECIPE.routes[-1:])
    monkeypatch.setattr(elpv, "RECIPE", recipe)
    assert [route.name for route in recipe.routes] == ["pip download elpv-dataset==1.0.0.post1"]
    train, valid, test = (elpv.load(split) for split in ("train", "valid", "test"))
    assert (train.length, valid.length, test.length) == (905, 302, 1016)
    assert test.label is not None
    assert test.label.sum() == 715
