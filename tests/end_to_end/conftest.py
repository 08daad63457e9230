"""Programs in processes of their own, as a user runs them."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import subprocess
import sys

import pytest

from tests import programs

DEBUG = "--config=configs/sparse_mnist.py:debug"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `python -m <module> <arguments>`; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen] = []

    def begin(module: str, *arguments: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=programs.ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
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
def finished(program: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished debug run; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = program("experiments.main", DEBUG, f"--workdir={folder}")
    assert result.returncode == 0, result.stderr
    return folder
