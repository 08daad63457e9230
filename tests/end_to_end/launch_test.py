"""A real sweep: trials side by side, finished ones skipped, a table over seeds."""

DEBUG = "--config=configs/sparse_mnist.py:debug"


def test_a_sweep_over_seeds_ends_in_a_table_and_is_not_run_twice(program, tmp_path):
    arguments = (DEBUG, "--sweep=seeds", f"--root={tmp_path}", "--workers=2")
    first = program("launch.local", *arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    for seed in range(3):
        assert (tmp_path / "seeds" / f"seed={seed}" / "DONE").exists()
    assert "±" in first.stdout
    assert "test/fvu" in first.stdout
    done = (tmp_path / "seeds" / "seed=0" / "DONE").stat().st_mtime_ns
    again = program("launch.local", *arguments)
    assert again.returncode == 0
    assert (tmp_path / "seeds" / "seed=0" / "DONE").stat().st_mtime_ns == done
    assert again.stdout.splitlines()[-3:] == first.stdout.splitlines()[-3:]


def test_a_trial_that_could_not_begin_is_named_with_its_reason(program, tmp_path):
    arguments = (DEBUG, "--sweep=seeds", f"--root={tmp_path}", "--only=seed=0")
    broken = program("launch.local", *arguments, "--", "--config.data.folder=/nowhere/at/all")
    assert broken.returncode == 1
    assert "/nowhere/at/all" in broken.stdout + broken.stderr
    mended = program("launch.local", *arguments)
    assert mended.returncode == 0, mended.stdout + mended.stderr
