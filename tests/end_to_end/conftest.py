"""Programs in processes of their own, as a user runs them."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEBUG = "--config=configs/sparse_mnist.py:debug"

Run = Callable[..., subprocess.CompletedProcess]


def _environment() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="session")
def program() -> Run:
    """Runs `python -m <module> <arguments>` to its end."""

    def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=_environment() | environment,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `python -m <module> <arguments>`; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen] = []

    def begin(module: str, *arguments: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=_environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def finished(program: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished debug run; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = program("experiments.main", DEBUG, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    return folder
