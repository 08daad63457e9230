"""A finished run's files, on a device that has jax and NumPy but none of this project."""

import hashlib
import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from sae_jax.analysis import export

ROOT = Path(__file__).resolve().parent.parent.parent

# What README.txt says, and nothing of what the project is made of can be imported.
_DEVICE = """
import sys
for name in ("sae_jax", "experiments", "configs", "flax", "optax", "orbax", "ml_collections"):
    sys.modules[name] = None
import jax, jax.export, numpy as np
jax.config.update("jax_platforms", "cpu")
values = dict(np.load("given.npz"))
for name, given in (("encode", "x"), ("decode", "codes"), ("reconstruct", "x")):
    data = open(f"{sys.argv[1]}/{name}.jaxexport", "rb").read()
    exported = jax.export.deserialize(bytearray(data))
    values[name] = np.asarray(jax.jit(exported.call)(values[given]))
np.savez("found.npz", **values)
"""


@pytest.fixture(scope="module")
def exported(program, finished, tmp_path_factory):
    """The folder of the debug run's files with int8 weights, and what the program printed."""
    folder = tmp_path_factory.mktemp("exported") / "new" / "files"
    result = program("experiments.export", f"--workdir={finished}", f"--out={folder}", "--int8")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in folder.parent.iterdir()] == ["files"]
    return folder, result.stdout


def test_the_folder_says_what_it_holds(exported, finished):
    folder, printed = exported
    about = json.loads((folder / "export.json").read_text())
    names = {"encode", "decode", "reconstruct"}
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}{export.SUFFIX}" for name in names),
        *("README.txt", "export.json"),
    }
    for name, each in about["functions"].items():
        data = (folder / each["file"]).read_bytes()
        assert each["sha256"] == hashlib.sha256(data).hexdigest()
        assert each["bytes"] == len(data)
        assert f"{len(data) / 1e6:.3f} MB" in printed
        assert f"{name}{export.SUFFIX}" in (folder / "README.txt").read_text()
    assert about["functions"]["encode"]["input"] == ["batch", 784]
    assert about["functions"]["encode"]["output"] == ["batch", 64]
    assert about["functions"]["decode"]["output"] == ["batch", 784]
    assert about["data_scale"] == 255
    assert "divided by 255" in (folder / "README.txt").read_text()
    # 784 x 64 matrices: a byte each, and what is not a matrix.
    assert 784 * 64 < about["functions"]["encode"]["bytes"] < 1.4 * 784 * 64
    before, after = about["numbers"]["float32"], about["numbers"]["int8"]
    assert before == json.loads((finished / "results.json").read_text())
    assert 0 < abs(after["test/fvu"] - before["test/fvu"]) < 0.01
    for row in ("float32", "int8", "test/fvu", "ms"):
        assert row in printed


def test_the_files_run_where_the_project_is_not(exported, finished, tmp_path):
    from experiments import run
    from sae_jax.analysis import quantise

    folder, _ = exported
    _, state = run.load(finished)
    params = quantise.dequantise(quantise.quantise(state.params))
    w = {name: np.asarray(value, np.float64) for name, value in params.items()}
    x = np.random.default_rng(0).random((5, 784), np.float32)
    codes = np.maximum((x - w["b_dec"]) @ w["w_enc"] + w["b_enc"], 0)
    x_hat = codes @ w["w_dec"] + w["b_dec"]
    np.savez(tmp_path / "given.npz", x=x, codes=codes.astype(np.float32))
    subprocess.run([sys.executable, "-I", "-c", _DEVICE, str(folder)], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["encode"], codes, atol=2e-6)
    np.testing.assert_allclose(found["decode"], x_hat, atol=2e-6)
    np.testing.assert_allclose(found["reconstruct"], x_hat, atol=2e-6)


# Runs the program once for each list of arguments, without importing everything each time.
_TIMES = """
import contextlib, io, json, sys
from experiments import cli, export
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["export", *arguments]
    said, status = io.StringIO(), None
    with contextlib.redirect_stderr(said):
        try:
            cli.run(export.main)
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, said.getvalue()]))
"""


def test_a_mistake_is_one_line_and_leaves_nothing(finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    run, out = f"--workdir={finished}", f"--out={tmp_path / 'out'}"
    mistakes = {
        (): "which run?",
        (run,): "where to?",
        (f"--workdir={tmp_path / 'nowhere'}", out): "no run in",
        (run, f"--out={tmp_path / 'full'}"): "is there and not empty",
        (run, f"--out={tmp_path / 'file'}"): "is there and not empty",
        (run, f"--out={tmp_path / 'file' / 'out'}"): "cannot write --out=",
        (run, out, "--platforms=cpu,gpu"): 'there is no "gpu": choose from cpu, cuda, rocm, tpu',
        (run, out, "--platforms="): "names none",
    }
    result = subprocess.run(
        [sys.executable, "-c", _TIMES, json.dumps([list(arguments) for arguments in mistakes])],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    for line, said in zip(result.stdout.splitlines(), mistakes.values(), strict=True):
        status, error = json.loads(line)
        assert status == 2, error
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert said in error
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
