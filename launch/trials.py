"""The trials of a sweep as command lines: what every back end runs.

`make` turns (config file, sweep, root) into trials. A trial's folder follows from its overrides, so
the same command finds finished runs again and goes on with unfinished ones; a trial that failed is
run again by pasting its line.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import difflib
import hashlib
import importlib.util
import inspect
import json
import pathlib
import re
import shlex
import sys
from types import ModuleType
from typing import Any

import ml_collections
from ml_collections import config_dict

from sae_jax import errors, sweep

PROGRAM = (sys.executable, "-m", "experiments.main")
TOGETHER = (sys.executable, "-m", "experiments.together")  # Many trials in one process.
PROMPT = "$ "  # What stands before the command in a log.
_LONGEST_NAME = 120


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep: what it overrides, where it lives and the command that runs it.

    `config` is what `sweep.flat` makes of its config, without the keys that extra flags set.
    """

    name: str
    overrides: sweep.Trial
    workdir: pathlib.Path
    argv: tuple[str, ...]
    config: Mapping[str, str] = dataclasses.field(default_factory=dict)


def make(
    config_path: str,
    sweep_names: str | Sequence[str],
    root: str | pathlib.Path,
    *,
    program: tuple[str, ...] = PROGRAM,
    extra: Sequence[str] = (),
) -> list[Trial]:
    """Returns the trials of the named sweeps, one sweep after the other.

    Args:
      config_path: path of the config file, with `:arg` for its `get_config` if wanted.
      sweep_names: names of sweeps in the config file; a string is split at its commas.
      root: a trial's workdir is `root/<sweep>/<name of the trial>`.
      program: the command to which a trial's flags are added.
      extra: more flags for every trial, such as "--config.num_steps=10".

    Raises:
      errors.UserError: there is no such file or sweep, or a trial does not fit the config.
    """
    path, _, arg = config_path.partition(":")
    module = load(path)
    found = sweeps(module)
    try:
        config = module.get_config(arg)
    except ValueError as e:
        raise errors.UserError(f"{config_path}: {e}") from e
    names = sweep_names.split(",") if isinstance(sweep_names, str) else sweep_names
    trials = []
    for sweep_name in dict.fromkeys(names):
        if sweep_name not in found:
            raise errors.UserError(f'no sweep "{sweep_name}" in {path}: {_listing(found)}')
        try:
            settings = check(config, found[sweep_name]())
        except (errors.UserError, ValueError) as e:
            raise errors.UserError(f'sweep "{sweep_name}" of {path}: {e}') from e
        for overrides in settings:
            workdir = pathlib.Path(root, sweep_name, name(overrides))
            flags = [f"--config.{key}={text(value)}" for key, value in overrides.items()]
            _check_extra(extra, overrides)
            argv = (*program, f"--config={config_path}", f"--workdir={workdir}", *flags, *extra)
            whole = _whole(config, overrides, extra)
            trials.append(Trial(name(overrides), overrides, workdir, argv, whole))
    return trials


def finished(trial: Trial) -> bool:
    """Says whether the trial has run to its end."""
    return (trial.workdir / "DONE").is_file()


def check_finished(trials: Sequence[Trial]) -> None:
    """Refuses to take runs that were finished with other settings for runs of these trials.

    The settings are those of the run's `config.json`, and of the last command in its `log.txt`.

    Raises:
      errors.UserError: a trial was finished by a command with another config or other overrides.
    """
    for trial in filter(finished, trials):
        saved = trial.workdir / "config.json"
        before = sweep.flat(json.loads(saved.read_text())) if saved.is_file() else {}
        changed = [
            key for key in trial.config if before.get(key, trial.config[key]) != trial.config[key]
        ]
        if changed:
            raise errors.UserError(
                f"{trial.workdir} was finished with {changed[0]}={before[changed[0]]}, now it is "
                f"{trial.config[changed[0]]}; give another --root, or delete that folder"
            )
        path = trial.workdir / "log.txt"
        log = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        commands = re.findall(rf"^{re.escape(PROMPT)}(.* --workdir=.*)$", log, re.MULTILINE)
        if commands and _settings(shlex.split(commands[-1])) != _settings(trial.argv):
            hint = "give another --root, or delete that folder"
            raise errors.UserError(
                f"{trial.workdir} was finished with other settings ({commands[-1]}); {hint}"
            )


def load(path: str) -> ModuleType:
    """Returns the module of a config file.

    Raises:
      errors.UserError: there is no such file, or it has no `get_config`.
    """
    file = pathlib.Path(path)
    if file.suffix != ".py" or not file.is_file():
        near = ", ".join(sorted(str(p) for p in file.parent.glob("[!_]*.py")))
        raise errors.UserError(f"no config file {path}; {file.parent} has: {near or 'none'}")
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None  # As for every .py file.
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise errors.UserError(f"{path} has no get_config and so is no config file")
    return module


def sweeps(module: ModuleType) -> dict[str, Callable[[], sweep.Sweep]]:
    """Returns the sweeps of a config module by name, in the order of the file.

    A sweep is a public function defined there, without required arguments, annotated
    `-> sweep.Sweep`.
    """
    found: dict[str, Callable[[], sweep.Sweep]] = {}
    for key, value in vars(module).items():
        if key.startswith("_") or not inspect.isfunction(value):
            continue
        signature = inspect.signature(value)
        if (
            value.__module__ == module.__name__
            and signature.return_annotation in (sweep.Sweep, "sweep.Sweep", "Sweep")
            and all(p.default is not p.empty for p in signature.parameters.values())
        ):
            found[key] = value
    return found


def check(config: ml_collections.ConfigDict, trials: sweep.Sweep) -> sweep.Sweep:
    """Returns the trials with their values in the types of the config, if all fit it.

    A value fits if the command line can give it to the config's field: it is of the field's type
    or an int for a float.

    Raises:
      errors.UserError: a trial does not fit or is there twice, or there is none.
    """
    if not trials:
        raise errors.UserError("is empty; give its grids at least one value")
    fields = dict(_fields(config))
    fitted: sweep.Sweep = []
    for trial in trials:
        overrides = {}
        for key, value in trial.items():
            if reason := _misfit(fields, key, value):
                raise errors.UserError(f"trial {name(trial)}: {reason}")
            overrides[key] = fields[key](value)
        if overrides in fitted:
            raise errors.UserError(f"trial {name(trial)} is there twice; remove one")
        fitted.append(overrides)
    return fitted


def name(overrides: sweep.Trial) -> str:
    """Returns a readable name for a trial that can be a folder's, like "loss.l1=0.3,seed=0".

    What cannot stand in a folder's name becomes "_"; such a name, and one that was cut because it
    was too long, ends with a hash of the whole.
    """
    if not overrides:
        return "default"
    values = {key: text(value) for key, value in overrides.items()}
    full = ",".join(f"{key}={value}" for key, value in values.items())
    # A "," or "=" within a value could make two trials look like one.
    plain = all(re.fullmatch(r"[\w.+-]+", value, re.ASCII) for value in values.values())
    if plain and len(full) <= _LONGEST_NAME:
        return full
    digest = hashlib.sha256(repr(values).encode()).hexdigest()[:8]
    safe = re.sub(r"[^\w.+=,-]+", "_", full, flags=re.ASCII)
    return f"{safe[: _LONGEST_NAME - 9]}-{digest}"


def text(value: Any) -> str:
    """Returns a value as config flags read it: exact for floats, a literal for tuples."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _literal(value)


def _settings(argv: Sequence[str]) -> list[str]:
    """Returns the part of a command that decides what a run computes."""
    settings = [arg for arg in argv if arg.startswith("--config")]
    # The same config may be named by another path.
    return sorted(re.sub("^--config=.*/", "--config=", arg) for arg in settings)


def _literal(value: Any) -> str:
    """Returns a Python literal without spaces between elements."""
    if isinstance(value, tuple | list):
        elements = ",".join(_literal(element) for element in value)
        return f"({elements},)" if len(value) == 1 else f"({elements})"
    # Subclasses of float (numpy's) have a repr that is no literal.
    return repr(float(value)) if isinstance(value, float) else repr(value)


def _fields(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Yields the dotted key and the type of every field; a group's type is ConfigDict."""
    for key, value in config.items(preserve_field_references=True):
        if isinstance(value, config_dict.FieldReference):
            yield f"{prefix}{key}", value.get_type()
            continue
        yield f"{prefix}{key}", type(value)
        if isinstance(value, ml_collections.ConfigDict):
            yield from _fields(value, f"{prefix}{key}.")


def _misfit(fields: dict[str, type], key: str, value: Any) -> str | None:
    """Returns why a field cannot be given this value on the command line; None if it can."""
    if key not in fields:
        near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
        hint = f'; the nearest key is "{near[0]}"' if near else ""
        return f'the config has no key "{key}"{hint}'
    field = fields[key]
    if issubclass(field, ml_collections.ConfigDict):
        inside = [other for other in fields if other.startswith(f"{key}.")]
        return f'"{key}" is a group; sweep one of its keys: {", ".join(inside) or "it has none"}'
    if field is type(None):
        return f'"{key}" is None in the config; make it a config_dict.placeholder of its type'
    if field not in (bool, int, float, str, tuple):
        return f'"{key}" is a {field.__name__}, which no flag can set; make it a tuple'
    allowed = {float: (int, float), tuple: (tuple, list)}.get(field, (field,))
    if not isinstance(value, allowed) or (isinstance(value, bool) and field is not bool):
        given = f"{text(value)}, {_article(type(value).__name__)}"
        return f'"{key}" is {_article(field.__name__)} in the config but the trial gives {given}'
    if field is tuple and not _readable(value):
        return f'"{key}" cannot be {text(value)}: flags read only finite numbers and words there'
    return None


def _article(noun: str) -> str:
    """Returns the noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _readable(value: Any) -> bool:
    """Says whether a flag reads the tuple back as it is."""
    try:
        return ast.literal_eval(text(value)) == tuple(value)
    except (ValueError, SyntaxError):
        return False


def _check_extra(extra: Sequence[str], overrides: sweep.Trial) -> None:
    """Refuses flags that would undo what the trial says of itself."""
    for flag in extra:
        key = flag.lstrip("-").partition("=")[0]
        if not flag.startswith("--"):
            raise errors.UserError(f'"{flag}" is no flag; write --flag=value after the "--"')
        if key in ("config", "workdir") or key.removeprefix("config.") in overrides:
            raise errors.UserError(f"--{key} is set for each trial; do not give it after the --")


def _whole(
    config: ml_collections.ConfigDict, overrides: sweep.Trial, extra: Sequence[str]
) -> dict[str, str]:
    """Returns the flat config of a trial, without what extra flags set."""
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(overrides)
    given = [flag.lstrip("-").partition("=")[0].removeprefix("config.") for flag in extra]
    return {
        key: value
        for key, value in sweep.flat(changed.to_dict()).items()
        if not any(key == name or key.startswith(f"{name}.") for name in given)
    }


def _listing(found: dict[str, Callable[[], sweep.Sweep]]) -> str:
    """Returns the names of sweeps, each with the first line of its docstring."""
    if not found:
        return "it has none (a sweep is a function annotated `-> sweep.Sweep`)"
    docs = {key: inspect.getdoc(value) or "" for key, value in found.items()}
    lines = {key: doc.split("\n")[0].rstrip(".") for key, doc in docs.items()}
    return "it has " + "; ".join(f"{k} ({v})" if v else k for k, v in lines.items())
