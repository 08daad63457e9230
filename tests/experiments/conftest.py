"""A run on a store of tokens, for the programs that look into it."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def program(module, *arguments):
    """Runs `python -m <module> <arguments>` to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="session")
def run_on_tokens(tmp_path_factory):
    """The folder of a finished debug run of configs/llm_topk.py; tests must not change it."""
    pytest.importorskip("glassllm", reason="needs sae_jax[llm]")
    folder = tmp_path_factory.mktemp("tokens")
    result = program(
        "experiments.main",
        "--config=configs/llm_topk.py:debug",
        f"--config.data.store={folder / 'store'}",
        "--config.model.d_sae=96",
        "--config.model.activation.k=4",
        f"--workdir={folder / 'run'}",
    )
    assert result.returncode == 0, result.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def run_python():
    return program
