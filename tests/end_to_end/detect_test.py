"""The anomaly program on a finished run of digits: noise is found, mistakes are one line."""

import csv

import numpy as np


def _input(path, spoilt=None):
    """The digits' own first test images and as many of noise, in turns; labels say which."""
    from sae_jax.data import mnist

    x = np.zeros((40, 784), np.float32)
    x[::2] = mnist.load("test[:20]").x / np.float32(255)
    x[1::2] = np.random.RandomState(0).rand(20, 784)
    if spoilt is not None:
        x[spoilt, 5] = np.nan
    np.savez(path, x=x, label=np.arange(40) % 2)
    return path


def test_noise_is_told_from_digits(program, finished, tmp_path):
    path, out = _input(tmp_path / "new.npz"), tmp_path / "out"
    result = program(
        "experiments.detect",
        *(f"--workdir={finished}", f"--input={path}", "--false_alarms=0.1", f"--out={out}"),
    )
    assert result.returncode == 0, result.stderr
    assert "the last 51 training examples, which the model has seen" in result.stdout
    assert "of 20 anomalies 100 % are flagged" in result.stdout
    for kind in ("residual", "latent", "both"):
        assert f"{kind:<10}    100.00  100.00" in result.stdout
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(40))
    assert all(row["flagged"] == "1" for row in rows[1::2])
    assert sum(row["flagged"] == "1" for row in rows[::2]) < 8
    least = min(float(row["both"]) for row in rows[1::2])
    assert all(float(row["both"]) < least for row in rows[::2])
    assert (out / "worst.png").read_bytes()[:4] == b"\x89PNG"


def _one_line(result, *said):
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    for words in said:
        assert words in lines[-1]


def test_a_bad_file_is_one_line_and_nothing_is_written(program, finished, tmp_path):
    path, out = _input(tmp_path / "new.npz", spoilt=17), tmp_path / "out"
    arguments = (f"--workdir={finished}", f"--input={path}", f"--out={out}")
    _one_line(program("experiments.detect", *arguments), str(path), "example 17", "nan")
    assert not out.exists()


def test_no_run_is_one_line(program, tmp_path):
    path = _input(tmp_path / "new.npz")
    missing = program("experiments.detect", f"--workdir={tmp_path / 'none'}", f"--input={path}")
    _one_line(missing, str(tmp_path / "none"), "config.json")
