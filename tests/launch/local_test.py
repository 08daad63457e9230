import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from launch import local

REPOSITORY = pathlib.Path(__file__).parents[2]

CONFIG = '''
import ml_collections
from sae_jax import sweep

def get_config(arg=""):
    return ml_collections.ConfigDict(dict(seed=0, mode="train", k=1, num_steps=1))

def seeds() -> sweep.Sweep:
    """Three seeds of two sizes."""
    return sweep.product(sweep.grid("k", 4, 8), sweep.grid("seed", 0, 1, 2))

def modes() -> sweep.Sweep:
    """Every way to end."""
    return sweep.grid("mode", "train", "error", "crash", "killed", "forgets", "removes")

def long() -> sweep.Sweep:
    """Trials that go on until they are stopped."""
    return sweep.grid("mode", "long", "long2", "train")

def stubborn() -> sweep.Sweep:
    """A trial that does not stop."""
    return sweep.grid("mode", "stubborn")
'''

# Stands for experiments.main: same flags, same files, same statuses.
PROGRAM = r"""
import json, os, pathlib, shutil, signal, sys, time
flags = dict(arg[2:].split("=", 1) for arg in sys.argv[1:])
folder, mode = pathlib.Path(flags["workdir"]), flags.get("config.mode", "train")
assert (folder / "log.txt").exists(), "the log comes first"
with (folder / "starts").open("a") as file:
    file.write(json.dumps(dict(os.environ)) + "\n")
(folder / "pid").write_text(str(os.getpid()))
print("working on", folder, flush=True)

def stop(number, frame):
    with (folder / "stops").open("a") as file:
        file.write("x")
    print("state saved", flush=True)
    sys.exit(143)

if mode == "error":
    print("error: no such data; fetch it", file=sys.stderr)
    print("some library says goodbye", file=sys.stderr)
    sys.exit(2)
if mode == "crash":
    raise RuntimeError("a bug")
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "forgets":
    sys.exit(0)
if mode == "removes":
    print("error: nothing trained", file=sys.stderr)
    shutil.rmtree(folder)
    sys.exit(2)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif mode.startswith("long"):
    signal.signal(signal.SIGTERM, stop)
if mode == "stubborn" or mode.startswith("long") and not (folder / "stops").exists():
    (folder / "ready").touch()
    time.sleep(60)
seed, k = int(flags.get("config.seed", 0)), int(flags.get("config.k", 1))
(folder / "results.json").write_text(json.dumps({"test/fvu": seed / k, "test/l0": k}))
(folder / "DONE").touch()
"""


# Stands for experiments.together: runs each trial by the program above, unless its seed is 2.
TOGETHER = r"""
import pathlib, shlex, subprocess, sys
texts = [arg.removeprefix("--trial=") for arg in sys.argv[1:]]
print("all at once:", len(texts), flush=True)
status = 0
for text in texts:
    words = shlex.split(text)
    if "--config.seed=2" in words:
        folder = next(word for word in words if word.startswith("--workdir=")).partition("=")[2]
        with (pathlib.Path(folder) / "log.txt").open("a") as log:
            log.write("error: it diverged\n")
        status = 2
    else:
        subprocess.run([sys.executable, "program.py", *words], check=True)
print("and goodbye")
sys.exit(status)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a config and a program; runs go into its `runs`."""
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "together.py").write_text(TOGETHER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _main(*argv):
    return local.main(
        ["--config=toy.py", *argv],
        program=(sys.executable, "program.py"),
        together=(sys.executable, "together.py"),
    )


def _starts(workdir):
    return [json.loads(line) for line in (workdir / "starts").read_text().splitlines()]


def test_all_trials_run_and_end_in_a_table(place, capsys):
    assert _main("--sweep=seeds", "--workers=3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == [f"[{i}/6]" for i in range(1, 7)]
    assert any(re.search(r"\] k=4,seed=2 done in \d+ s$", line) for line in lines[:6])
    assert lines[-4:] == [
        "| k   | n   | test/fvu      | test/l0 |",
        "| --- | --- | ------------- | ------- |",
        "| 4   | 3   | 0.25 ± 0.25   | 4 ± 0   |",
        "| 8   | 3   | 0.125 ± 0.125 | 8 ± 0   |",
    ]
    folder = place / "runs" / "toy" / "seeds"
    assert len((folder / "table.csv").read_text().splitlines()) == 7
    assert (folder / "table.md").read_text().splitlines() == lines[-4:]
    log = (folder / "k=4,seed=0" / "log.txt").read_text()
    assert log.startswith(f"$ {sys.executable} program.py --config=toy.py --workdir=runs/toy/seeds")
    assert "working on runs/toy/seeds/k=4,seed=0" in log


def test_finished_trials_are_skipped_but_are_in_the_table(place, capsys):
    assert _main("--sweep=seeds", "--only=k=4") == 0
    assert "k=8" not in capsys.readouterr().out
    assert _main("--sweep=seeds", "--only=seed=0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 of 2 trials are finished already"
    assert lines[1].startswith("[2/2] k=8,seed=0 done")
    assert [line.split()[1:4:2] for line in lines[-2:]] == [["4", "3"], ["8", "1"]]
    assert len(_starts(place / "runs" / "toy" / "seeds" / "k=4,seed=0")) == 1


def test_a_failure_names_its_cause_and_stops_no_other(place, capsys):
    assert _main("--sweep=modes", "--workers=2") == 1
    lines = capsys.readouterr().out.splitlines()
    ended = {line.split()[1].removeprefix("mode="): line for line in lines if line[:1] == "["}
    log = "(log: runs/toy/modes/mode={}/log.txt)"
    assert "done in" in ended["train"]
    assert ended["error"].endswith("failed: no such data; fetch it " + log.format("error"))
    assert ended["crash"].endswith("failed: RuntimeError: a bug " + log.format("crash"))
    assert "failed: killed by SIGKILL" in ended["killed"]
    assert "failed: ended with status 0 but left no DONE" in ended["forgets"]
    assert "failed: nothing trained" in ended["removes"]
    assert (place / "runs/toy/modes/table.csv").read_text().count("\n") == 2


def test_failed_trials_run_again_and_the_log_grows(place):
    assert _main("--sweep=modes", "--only=crash") == 1
    program = place / "program.py"
    program.write_text(PROGRAM.replace('raise RuntimeError("a bug")', "pass"))
    assert _main("--sweep=modes", "--only=crash") == 0
    workdir = place / "runs/toy/modes/mode=crash"
    assert len(_starts(workdir)) == 2
    log = (workdir / "log.txt").read_text()
    assert log.count("$ ") == 2
    assert "a bug" in log


def test_a_program_that_cannot_start_is_a_failed_trial(place, capsys):
    status = local.main(["--config=toy.py", "--sweep=seeds"], program=("./no_such_program",))
    assert status == 1
    assert capsys.readouterr().out.count("failed: [Errno 2]") == 6


def test_together_one_process_runs_all_trials_and_each_has_its_reason(place, capsys):
    assert _main("--sweep=seeds", "--only=seed=1") == 0
    capsys.readouterr()
    assert _main("--sweep=seeds", "--together", "--devices=5,7") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 6 trials are finished already"
    assert re.fullmatch(r"\[3/6\] k=4,seed=0 done in \d+ s", lines[1])
    failed = "k=4,seed=2 failed: it diverged (log: runs/toy/seeds/k=4,seed=2/log.txt)"
    assert lines[2] == f"[4/6] {failed}"
    assert lines[-1].split()[1:4:2] == ["8", "2"]
    assert (place / "runs/toy/together.txt").read_text().count("all at once: 4") == 1
    folder = place / "runs/toy/seeds/k=8,seed=0"
    assert _starts(folder)[0]["CUDA_VISIBLE_DEVICES"] == "5,7"
    log = (folder / "log.txt").read_text()
    assert log.startswith(f"$ {sys.executable} program.py --config=toy.py --workdir=")
    assert _main("--sweep=seeds", "--together", "--only=seed=0") == 0


def test_together_is_one_command(place, capsys):
    assert _main("--sweep=seeds", "--together", "--dry_run", "--only=k=4") == 0
    (line,) = capsys.readouterr().out.splitlines()
    words = shlex.split(line)
    assert words[:2] == [sys.executable, "together.py"]
    assert shlex.split(words[3].removeprefix("--trial=")) == [
        *("--config=toy.py", "--workdir=runs/toy/seeds/k=4,seed=1"),
        *("--config.k=4", "--config.seed=1"),
    ]
    assert len(words) == 5
    assert _main("--sweep=seeds", "--together", "--workers=2") == 2
    assert "leave out --workers" in capsys.readouterr().err


def test_devices_and_threads_reach_the_trials(place, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert _main("--sweep=seeds", "--devices=5,7", "--threads=3") == 0
    workdirs = sorted((place / "runs/toy/seeds").glob("k=*"))
    environments = [_starts(workdir)[0] for workdir in workdirs]
    assert {environment["CUDA_VISIBLE_DEVICES"] for environment in environments} == {"5", "7"}
    assert {environment["NPROC"] for environment in environments} == {"3"}
    assert all("XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment for environment in environments)


def test_trials_that_share_a_device_share_its_memory(place):
    assert _main("--sweep=seeds", "--devices=0", "--workers=3", "--only=seed=0") == 0
    environment = _starts(place / "runs/toy/seeds/k=4,seed=0")[0]
    assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.300"


def test_a_dry_run_prints_the_commands_of_what_is_left(place, capsys):
    assert _main("--sweep=seeds", "--only=k=4,seed=0") == 0
    capsys.readouterr()
    assert _main("--sweep=seeds", "--dry_run", "--only=k=4", "--", "--verbose=a b") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{sys.executable} program.py --config=toy.py --workdir=runs/toy/seeds/k=4,seed={seed} "
        f"--config.k=4 --config.seed={seed} '--verbose=a b'"
        for seed in (1, 2)
    ]
    assert not (place / "runs/toy/seeds/k=4,seed=1").exists()


def test_variants_and_other_settings_do_not_pass_for_the_runs(place, capsys):
    assert (
        local.main(
            ["--config=toy.py:debug", "--sweep=seeds", "--only=k=4"],
            program=(sys.executable, "program.py"),
        )
        == 0
    )
    assert len(list((place / "runs/toy-debug/seeds").glob("k=*"))) == 3
    assert _main("--sweep=seeds", "--only=k=4", "--", "--config.num_steps=2") == 0
    assert _main("--sweep=seeds", "--only=k=4") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: runs/toy/seeds/k=4,seed=0 was finished with other settings")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config=no.py", "--sweep=seeds"], "error: no config file no.py"),
        (["--config=toy.py"], 'error: no sweep "" in toy.py: it has seeds (Three seeds of'),
        (["--sweep=seeds"], "error: no config file is given"),
        (["--config=toy.py", "--sweep=seeds", "--only=x"], 'error: --only="x" matches no trial'),
        (["--config=toy.py", "--sweep=seeds", "--worker=2"], "error: Unknown command line flag"),
        (["--config=toy.py", "--sweep=seeds", "--workers=0"], "error: flag --workers=0"),
    ],
)
def test_a_wrong_command_is_one_line(place, capsys, argv, message):
    assert local.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_help_needs_no_config(capsys):
    assert local.main(["--help"]) == 0
    assert "--workers" in capsys.readouterr().out


def _launcher(place, *argv):
    """Returns a launcher in a process of its own, which can be sent signals.

    It hears Ctrl-C also where the tests run in the background of a shell, which ignores it.
    """
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from launch import local; local._GRACE = 1.0;"
        "sys.exit(local.main(sys.argv[1:], program=(sys.executable, 'program.py')))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "--config=toy.py", *argv],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_for(*paths):
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, "the trials did not start"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launcher_lets_trials_save_and_goes_on_later(place, number):
    folder = place / "runs/toy/long"
    launcher = _launcher(place, "--sweep=long", "--workers=2")
    _wait_for(folder / "mode=long" / "ready", folder / "mode=long2" / "ready")
    launcher.send_signal(number)
    output, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 128 + number
    assert "mode=long stopped" in output
    assert output.endswith("stopped; 3 of 3 trials are left. Run the same command to go on.\n")
    assert (folder / "mode=long" / "stops").read_text() == "x"  # Once, not twice.
    assert (folder / "mode=long2" / "stops").read_text() == "x"
    assert "state saved" in (folder / "mode=long" / "log.txt").read_text()
    assert not (folder / "mode=train").exists()

    launcher = _launcher(place, "--sweep=long", "--workers=2")
    output, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 0
    assert "[3/3]" in output
    assert len(_starts(folder / "mode=long")) == 2


def test_a_trial_that_does_not_stop_is_killed(place):
    workdir = place / "runs/toy/stubborn/mode=stubborn"
    launcher = _launcher(place, "--sweep=stubborn")
    _wait_for(workdir / "ready")
    started = time.monotonic()
    launcher.send_signal(signal.SIGTERM)
    output, _ = launcher.communicate(timeout=30)
    assert 0.9 < time.monotonic() - started < 20
    assert launcher.returncode == 143
    assert "mode=stubborn stopped" in output


def test_a_trial_killed_from_outside_runs_again(place):
    folder = place / "runs/toy/long"
    launcher = _launcher(place, "--sweep=long", "--workers=3", "--only=mode=long2")
    _wait_for(folder / "mode=long2" / "ready")
    os.kill(int((folder / "mode=long2" / "pid").read_text()), signal.SIGKILL)
    output, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == 1
    assert "mode=long2 failed: killed by SIGKILL" in output
    (folder / "mode=long2" / "stops").touch()  # From here on the program ends by itself.
    launcher = _launcher(place, "--sweep=long", "--only=mode=long2")
    launcher.communicate(timeout=30)
    assert launcher.returncode == 0
    assert len(_starts(folder / "mode=long2")) == 2
