import json
import pathlib
import re
import subprocess
import sys

import ml_collections
from ml_collections import config_dict
import pytest

from launch import trials
from sae_jax import errors

CONFIG = '''
import ml_collections
from sae_jax import sweep
from sae_jax.sweep import product

def get_config(arg=""):
    if arg not in ("", "debug"):
        raise ValueError(f"no variant {arg}")
    config = ml_collections.ConfigDict(dict(seed=0, lr=1.0, betas=(0.9, 0.99), nesterov=False))
    config.loss = dict(l1=0.1)
    config.name = arg
    return config

def l1() -> sweep.Sweep:
    """Sparsity.

    More words.
    """
    return product(sweep.grid("loss.l1", 0.1, 0.3), _seeds())

def one(key: str = "lr") -> "sweep.Sweep":
    return sweep.grid(key, 1)

def nothing() -> sweep.Sweep:
    """No trial."""
    return []

def clashing() -> sweep.Sweep:
    """A mistake."""
    return product(_seeds(), _seeds())

def _seeds() -> sweep.Sweep:
    return sweep.grid("seed", 0, 1)

def needs(key) -> sweep.Sweep:
    return sweep.grid(key, 1)

def other() -> int:
    return 1
'''

PRINT = """
import sys
from ml_collections import config_flags
from absl import app
CONFIG = config_flags.DEFINE_config_file("config")
app.run(lambda argv: print(repr({key: CONFIG.value[key] for key in ("f", "b", "s", "t", "i")})))
"""


@pytest.fixture
def config_path(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(CONFIG)
    return str(path)


def test_a_trial_is_a_command_line(config_path):
    made = trials.make(f"{config_path}:debug", "l1", "runs", program=("run",), extra=["--x=1"])
    assert [trial.name for trial in made] == [
        "loss.l1=0.1,seed=0",
        "loss.l1=0.1,seed=1",
        "loss.l1=0.3,seed=0",
        "loss.l1=0.3,seed=1",
    ]
    assert made[3].overrides == {"loss.l1": 0.3, "seed": 1}
    assert made[3].workdir == pathlib.Path("runs/l1/loss.l1=0.3,seed=1")
    assert made[3].argv == (
        "run",
        f"--config={config_path}:debug",
        "--workdir=runs/l1/loss.l1=0.3,seed=1",
        "--config.loss.l1=0.3",
        "--config.seed=1",
        "--x=1",
    )


def test_the_program_is_main_of_this_python(config_path):
    argv = trials.make(config_path, ["one"], "runs")[0].argv
    assert argv[:3] == (sys.executable, "-m", "experiments.main")


def test_several_sweeps_are_chained(config_path):
    made = trials.make(config_path, "one,l1,one", "runs")
    assert [trial.workdir.parent.name for trial in made] == ["one", "l1", "l1", "l1", "l1"]


def test_sweeps_are_annotated_public_functions_without_arguments(config_path):
    assert list(trials.sweeps(trials.load(config_path))) == ["l1", "one", "nothing", "clashing"]


@pytest.mark.parametrize(
    ("sweep_name", "message"),
    [
        ("l2", r'no sweep "l2" in .*: it has l1 \(Sparsity\); one; nothing \(No trial\)'),
        ("", r'no sweep "" in '),
        ("nothing", 'sweep "nothing" of .*: is empty'),
        ("clashing", 'sweep "clashing" of .*: swept twice: seed'),
    ],
)
def test_a_wrong_sweep_is_refused_in_one_line(config_path, sweep_name, message):
    with pytest.raises(errors.UserError, match=message) as e:
        trials.make(config_path, sweep_name, "runs")
    assert "\n" not in str(e.value)


def test_a_wrong_config_is_refused(config_path, tmp_path):
    with pytest.raises(errors.UserError, match=r"no config file .*/tyo.py; .* has: .*/toy.py"):
        trials.make(str(tmp_path / "tyo.py"), "l1", "runs")
    with pytest.raises(errors.UserError, match="toy.py:fast: no variant fast"):
        trials.make(f"{config_path}:fast", "l1", "runs")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(errors.UserError, match="has no get_config"):
        trials.load(str(tmp_path / "empty.py"))


@pytest.mark.parametrize("flag", ["--workdir=x", "--config=y", "--config.seed=3"])
def test_extra_flags_may_not_undo_a_trial(config_path, flag):
    with pytest.raises(errors.UserError, match="is set for each trial"):
        trials.make(config_path, "l1", "runs", extra=[flag])


def test_extra_words_that_are_no_flags_are_refused(config_path):
    with pytest.raises(errors.UserError, match='"seed=3" is no flag'):
        trials.make(config_path, "l1", "runs", extra=["seed=3"])


def _config():
    config = ml_collections.ConfigDict(dict(i=1, f=1.0, b=False, s="x", t=(1, 2), none=None, l=[]))
    config.group = dict(inner=1)
    config.placeholder = config_dict.placeholder(int)
    return config.lock()


def test_values_that_fit_are_given_the_types_of_the_config():
    sweep = [{"f": 2, "i": 3, "b": True, "s": "y", "t": [0.5], "placeholder": 4, "group.inner": 5}]
    fitted = trials.check(_config(), sweep)
    assert fitted == [{**sweep[0], "f": 2.0, "t": (0.5,)}]
    assert isinstance(fitted[0]["f"], float)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"group.iner": 1}, 'no key "group.iner"; the nearest key is "group.inner"'),
        ({"i.x": 1}, 'no key "i.x"'),
        ({"group": 1}, '"group" is a group; sweep one of its keys: group.inner'),
        ({"i": 1.5}, '"i" is an int in the config but the trial gives 1.5, a float'),
        ({"i": True}, '"i" is an int in the config but the trial gives true, a bool'),
        ({"f": True}, '"f" is a float in the config but the trial gives true, a bool'),
        ({"b": 1}, '"b" is a bool'),
        ({"s": 1}, '"s" is a str'),
        ({"t": 1}, '"t" is a tuple'),
        ({"t": (1.0, float("inf"))}, r'"t" cannot be \(1.0,inf\)'),
        ({"i": [1, 2]}, r'"i" is an int in the config but the trial gives \(1,2\), a list'),
        ({"f": None}, '"f" is a float in the config but the trial gives None'),
        ({"none": 1}, '"none" is None in the config; make it a config_dict.placeholder'),
        ({"l": [1]}, '"l" is a list, which no flag can set; make it a tuple'),
    ],
)
def test_a_trial_that_does_not_fit_is_named(trial, message):
    with pytest.raises(errors.UserError, match=message) as e:
        trials.check(_config(), [trial])
    assert str(e.value).startswith(f"trial {trials.name(trial)}: ")
    assert "\n" not in str(e.value)


def test_a_trial_that_is_there_twice_is_refused():
    with pytest.raises(errors.UserError, match="trial f=1.0 is there twice"):
        trials.check(_config(), [{"f": 1}, {"f": 1.0}])


def test_values_reach_the_program_as_they_are(tmp_path):
    config = "import ml_collections\ndef get_config():\n    return ml_collections.ConfigDict("
    (tmp_path / "c.py").write_text(config + "dict(f=0.0, b=True, s='', t=(), i=0))")
    (tmp_path / "main.py").write_text(PRINT)
    for overrides in [
        {"f": 0.1 + 0.2, "b": False, "s": "a b='c',\"", "t": ("a,b", 1, (0.1, True)), "i": -3},
        {"f": float("-inf"), "b": True, "s": "", "t": (1e-5,), "i": 2**70},
        {"f": 5e-324, "b": True, "s": "true", "t": (), "i": 0},
    ]:
        flags = [f"--config.{key}={trials.text(value)}" for key, value in overrides.items()]
        argv = [sys.executable, str(tmp_path / "main.py"), f"--config={tmp_path}/c.py", *flags]
        output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        assert output.strip() == repr(overrides)


def test_names_are_readable_where_they_can_be():
    overrides = {"loss.l1": 1e-5, "b": True, "model.name": "top_k", "i": -1}
    assert trials.name(overrides) == "loss.l1=1e-05,b=true,model.name=top_k,i=-1"
    assert trials.name({}) == "default"


def test_names_are_safe_short_and_distinct():
    odd = [
        {"s": "a/b"},
        {"s": "a b"},
        {"s": "../.."},
        {"s": "1,b=2"},
        {"s": "1", "b": 2},
        {"s": ""},
        {"s": "é"},
        {"t": (0.8, 0.9)},
        {"t": (0.8, 0.99)},
        {"s": "x" * 500},
        {"s": "x" * 501},
    ]
    names = [trials.name(overrides) for overrides in odd]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.=,+-]{1,120}", name, re.ASCII) for name in names)
    # Folders of earlier runs must be found again by every later Python.
    assert trials.name({"t": (0.8, 0.9)}) == "t=_0.8,0.9_-00fe6182"


def _done(trial, *commands):
    trial.workdir.mkdir(parents=True)
    log = "".join(f"{trials.PROMPT}{command}\nwords\n$ words\n" for command in commands)
    (trial.workdir / "log.txt").write_text(log)
    (trial.workdir / "DONE").touch()


def test_finished_is_a_file(config_path, tmp_path):
    trial = trials.make(config_path, "one", tmp_path)[0]
    assert not trials.finished(trial)
    _done(trial)
    assert trials.finished(trial)
    trials.check_finished([trial])  # Without a command in the log it is believed.


def test_a_run_finished_with_other_settings_does_not_count(config_path, tmp_path):
    trial = trials.make(config_path, "one", tmp_path)[0]
    command = f"py main --config=elsewhere/toy.py --workdir={tmp_path} --config.lr=1.0"
    _done(trial, f"{command} --config.num_steps=10", f"{command} --verbose")
    trials.check_finished([trial])
    with (trial.workdir / "log.txt").open("a") as log:
        log.write(f"{trials.PROMPT}{command} --config.num_steps=10\n")
    with pytest.raises(errors.UserError, match="other settings .*num_steps=10.*another --root"):
        trials.check_finished([trial])


def test_a_run_finished_with_another_config_file_does_not_count(config_path, tmp_path):
    trial = trials.make(config_path, "one", tmp_path)[0]
    _done(trial)
    (trial.workdir / "config.json").write_text(json.dumps({"lr": 1.0, "seed": 77}))
    assert trial.config["seed"] != "77"
    with pytest.raises(errors.UserError, match="seed=77, now it is .*another --root"):
        trials.check_finished([trial])
    # A key that a flag after the "--" sets is that flag's, not the file's.
    trials.check_finished(trials.make(config_path, "one", tmp_path, extra=["--config.seed=77"]))
