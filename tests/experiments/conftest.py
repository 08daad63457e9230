"""A run on a store of tokens, for the programs that look into it."""

import pytest


@pytest.fixture(scope="session")
def run_on_tokens(program, tmp_path_factory):
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
