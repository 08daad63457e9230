"""Series with classes, from .ts files."""

import gzip
import hashlib
import pathlib
import zipfile

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import ucr

HEAD = "#About it.\n@problemName Toy\n@timeStamps false\n@univariate false\n@equalLength true\n"
TRAIN = HEAD + (
    "@classLabel true 10 2 1\n@data\n1,2,3:-1,-2,-3:2\n4,5,6.5:-4,-5,-6e-1:10\n\n7,8,9:0,0,0:1\n"
)
TEST = HEAD + "@classLabel true 10 2 1\n@data\n0,0,1:2,2,2:10\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "Toy_TRAIN.ts").write_text(TRAIN)
    (tmp_path / "Toy_TEST.ts.gz").write_bytes(gzip.compress(TEST.encode()))
    return tmp_path


def test_channels_are_last_and_classes_in_order_of_number(folder: pathlib.Path) -> None:
    data = ucr.load("train", "Toy", str(folder))
    assert data.spec.grid == (3, 2)
    assert data.x.dtype == np.float32
    expected = [
        [[1, -1], [2, -2], [3, -3]],
        [[4, -4], [5, -5], [6.5, -0.6]],
        [[7, 0], [8, 0], [9, 0]],
    ]
    np.testing.assert_array_equal(data.x.reshape(3, 3, 2), np.array(expected, np.float32))
    assert data.label is not None
    assert data.label.tolist() == [1, 2, 0]
    test = ucr.load("test", "Toy", str(folder))
    assert test.x.tolist() == [[0, 2, 0, 2, 1, 2]]
    assert ucr.load("train[1:]", "Toy", str(folder)).length == 2


def test_words_are_classes_in_alphabetical_order() -> None:
    text = "@classLabel true Standing Running\n@DATA\n1,2:Standing\n3,4:Running\n"
    x, label = ucr.from_ts("a.ts", text.encode())
    assert x.shape == (2, 2, 1)
    assert label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no .ts file of labelled series"),
        ("@classLabel true 1\n@data\n", "no .ts file of labelled series"),
        ("@targetlabel true\n@data\n1,2:0.5\n", "no .ts file of labelled series"),
        ("@classLabel false\n@data\n1,2\n", "no .ts file of labelled series"),
        ("@classLabel true 1\n@data\n1,2:1\n1,2,3:1\n", "differ in length"),
        ("@classLabel true 1\n@data\n1,2:3,4:1\n1,2:1\n", "differ in length"),
        ("@classLabel true 1\n@data\n1,?:1\n", "without gaps"),
        ("@classLabel true 1\n@data\n1,2:3\n", "class 3"),
    ],
)
def test_file_that_cannot_be_read_says_why(text: str, complaint: str) -> None:
    with pytest.raises(errors.DataError, match=f"a.ts.*{complaint}"):
        ucr.from_ts("a.ts", text.encode())


def test_train_and_test_of_other_lengths_are_refused(folder: pathlib.Path) -> None:
    (folder / "Toy_TEST.ts.gz").unlink()
    (folder / "Toy_TEST.ts").write_text("@classLabel true 1\n@data\n1,2:1\n")
    with pytest.raises(errors.DataError, match=r"Toy has series of \(3, 2\).*\(2, 1\)"):
        ucr.load("train", "Toy", str(folder))


def test_unknown_set_names_the_known_ones_or_the_missing_file(folder: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match="GunPoint, ItalyPowerDemand.*Toy_TRAIN.ts"):
        ucr.load("train", "Toy")
    (folder / "Toy_TEST.ts.gz").write_bytes(gzip.compress(TEST.encode())[:-9])
    with pytest.raises(errors.DataError, match=r"Toy_TEST\.ts\.gz cannot be read"):
        ucr.load("train", "Toy", str(folder))
    (folder / "Toy_TEST.ts.gz").unlink()
    with pytest.raises(errors.DataError, match=r"there is no Toy_TEST\.ts"):
        ucr.load("train", "Toy", str(folder))


def test_listed_set_is_fetched_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def wheel(requirement: str, folder: pathlib.Path, *_: object) -> pathlib.Path:
        assert requirement == "aeon==1.6.0"
        with zipfile.ZipFile(folder / "aeon.whl", "w") as archive:
            for part, text in (("TRAIN", TRAIN), ("TEST", TEST)):
                archive.writestr(f"aeon/datasets/data/Toy/Toy_eq_{part}.ts", text)
        return folder / "aeon.whl"

    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (TRAIN, TEST)]
    monkeypatch.setattr(fetch, "pip_wheel", wheel)
    monkeypatch.setattr(ucr, "SHA256", {"Toy_eq": tuple(digests)})
    assert ucr.load("train", "Toy_eq").length == 3
    assert (fetch.cache_folder("ucr/Toy_eq") / "Toy_eq_TEST.ts").read_text() == TEST
    monkeypatch.setattr(ucr, "SHA256", {"Toy_eq": (digests[0], "0" * 64)})
    with pytest.raises(
        errors.DataError, match="cache.*installed aeon.*pip download aeon.*not 0000"
    ):
        ucr.load("train", "Toy_eq")


def test_windows_move_by_the_stride_and_stay_inside() -> None:
    series = np.arange(14).reshape(7, 2)
    got = ucr.windows(series, 3, 2)
    np.testing.assert_array_equal(got, [series[0:3], series[2:5], series[4:7]])
    assert ucr.windows(series, 7).shape == (1, 7, 2)
    assert ucr.windows(series, 4, 2).shape == (2, 4, 2)
    for length, stride in ((8, 1), (0, 1), (3, 0)):
        with pytest.raises(errors.DataError, match=f"no window of {length}"):
            ucr.windows(series, length, stride)


@pytest.mark.network
def test_every_listed_set_can_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        "ACSF1": (100, 100, 1460, 1, 10),
        "ArrowHead": (36, 175, 251, 1, 3),
        "BasicMotions": (40, 40, 100, 6, 4),
        "GunPoint": (50, 150, 150, 1, 2),
        "ItalyPowerDemand": (67, 1029, 24, 1, 2),
        "JapaneseVowels_eq": (270, 370, 25, 12, 9),
        "OSULeaf": (200, 242, 427, 1, 6),
        "PickupGestureWiimoteZ_eq": (50, 50, 361, 1, 10),
    }
    assert set(sizes) == set(ucr.SHA256)
    routes = ucr.routes
    monkeypatch.setattr(ucr, "routes", lambda members: routes(members)[-1:])
    for dataset, (n_train, n_test, length, channels, classes) in sizes.items():
        for split, n in (("train", n_train), ("test", n_test)):
            data = ucr.load(split, dataset)
            assert data.length == n
            assert data.spec.grid == (length, channels)
            assert data.label is not None
            assert np.unique(data.label).tolist() == list(range(classes))
