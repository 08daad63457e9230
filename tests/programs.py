"""Programs run as a user runs them, without the seconds in which each would import its packages.

One process has imported them, and started neither threads nor devices; each program is a fork of
it, with its own memory, devices, signals and status.
"""

import atexit
import multiprocessing
import os
from pathlib import Path
import runpy
import subprocess
import sys
import tempfile

import jax

ROOT = Path(__file__).resolve().parent.parent
# Flags with which XLA compiles fast rather than well.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # Later ones end the process at a flag that they do not know.
    QUICK += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# What programs import, less the programs: each defines its flags anew.
_PACKAGES = (
    *("configs.base", "experiments.build", "experiments.figures", "experiments.report"),
    *("experiments.stores", "experiments.checks", "launch.trials", "matplotlib.pyplot"),
    *("orbax.checkpoint", "sklearn.linear_model", "tensorboardX", "jax.experimental.pallas"),
)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(list(_PACKAGES))


def run(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python -m <module> <arguments>` in the root of the project, to its end."""
    words = [module, *map(str, arguments)]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    if any(name.startswith("JAX_") for name in environment):  # jax reads them when it is imported.
        return subprocess.run(
            [sys.executable, "-m", *words],
            **{"cwd": ROOT, "env": variables, "capture_output": True, "text": True},
            **{"timeout": 600, "check": False},
        )
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _FORKS.Process(target=_program, args=(words, variables, said))
        process.start()
        process.join(timeout=600)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, 600)
        return subprocess.CompletedProcess(
            words, process.exitcode, *(path.read_text() for path in said)
        )


def _program(words: list[str], variables: dict[str, str], said: list[Path]) -> None:
    """Is the program, in its fork."""
    for path, stream in zip(said, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    sys.argv = list(words)
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # A fork ends without what its parent might have put there.
