"""Each script in a size that says nothing, to its end."""

import pytest

from benchmarks import records

pytestmark = pytest.mark.slow  # Each starts processes that import jax and compile: half a minute.


@pytest.mark.parametrize(
    ("script", "arguments", "ratio"),
    [
        ("sae_step", ["--variants=topk", "--rounds=1", "--threads=1"], "topk/five / ours"),
        ("scaling", ["--of=d_sae,devices", "--rounds=1"], "d_sae: in proportion / measured"),
        ("memory", ["--nolargest"], "d_sae 8192: nearness of --dry_run"),
        ("startup", [], "imports / warm"),
        ("accelerator", ["--rounds=1"], "d_in 16, d_sae 64, k 4, batch 32: encoder / ours"),
    ],
)
def test_a_record_is_left(program, tmp_path, script, arguments, ratio):
    path = tmp_path / "record.json"
    ran = program(f"benchmarks.{script}", "--debug", *arguments, f"--record={path}")
    assert ran.returncode in (0, 1) if script == "startup" else ran.returncode == 0, ran.stderr
    record = records.read(path)
    assert record.script == f"benchmarks.{script}"
    assert record.arguments == ["--debug", *arguments]
    assert ratio in record.ratios


@pytest.mark.parametrize("settings", [[], ["--set=optim.moments=int8"]], ids=["float32", "int8"])
def test_what_dry_run_says_is_near_what_training_takes(program, tmp_path, settings):
    """Within 15 %, at the size that the other scripts measure and at a large one."""
    path = tmp_path / "record.json"
    ran = program("benchmarks.memory", "--nolargest", *settings, f"--record={path}")
    assert ran.returncode == 0, ran.stderr
    ratios = records.read(path).ratios
    assert len(ratios) == 2
    for name, nearness in ratios.items():
        assert nearness >= 0.85, name
