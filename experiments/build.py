"""Turns a config into objects; the only reader of configs.

A group of the config names a component, `name`, and holds the component's keyword arguments and
nothing else. It is found by the name of its file, or of its function: nothing is registered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import difflib
import functools
import importlib
import inspect
import json
import math
from pathlib import Path
import pkgutil
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh
import ml_collections
import numpy as np

from sae_jax import errors, losses, mesh
from sae_jax.data import corpus
from sae_jax.models import sae
from sae_jax.ops import corrupt, normalise, per_member, schedule
from sae_jax.optim import constraints, optimizers, remedies, schedules
from sae_jax.train import calibrate, evaluate, loop, step

Group = dict[str, Any]


def task(config: ml_collections.ConfigDict) -> loop.Task:
    """Returns the run that a config describes; loads its data.

    Raises:
      UserError: a name, a key or a value of the config is not what it should be.
    """
    return task_of(plain(config), data)


def task_of(values: Group, load: Callable[[Group], Any], grid: Mesh | None = None) -> loop.Task:
    """Returns the run that a plain config describes.

    Args:
      values: numbers of its groups may be `PerMember`.
      load: `data`, or what keeps what it returned.
      grid: over which devices, if not as the config says.
    """
    _check_keys(values)
    _check_numbers(values)
    _check_evaluations(values["evals"])
    grid = _call("mesh", mesh.make, values["mesh"]) if grid is None else grid
    train_data = load(values["data"])
    spec = train_data.spec
    _check_targets(values["normaliser"], values["remedy"], spec)
    model = _on(grid, _model(values["model"], spec, values["num_steps"]))
    _check_terms(values["loss"], model)
    latent_axes = _module("model", "models", values["model"]["name"]).LATENT_AXES
    whole = grid.shape["dictionary"] == 1  # Of the latents, no device has a part only.
    plan = _call("config", loop.Plan, {name: values[name] for name in _fields(loop.Plan)})
    return loop.Task(
        method=_method(values, model, spec.grid, latent_axes if whole else {}, grid),
        data=train_data,
        evaluations={
            name: _evaluation(f"evals.{name}", group, values["data"], load)
            for name, group in values["evals"].items()
        },
        plan=plan,
        mesh=grid,
        latent_axes=latent_axes,
        calibration=_calibration(values["calibration"], values["data"], load),
    )


def plain(config: ml_collections.ConfigDict) -> Group:
    """Returns the config as nested dicts, references resolved."""
    return config.copy_and_resolve_references().to_dict()


def data(group: Group) -> Any:
    """Returns the data set that a group `dict(name, split, ...)` names."""
    name, kwargs = _split_name("data", group)
    load = _module("data", "data", name).load
    if name != "stream":
        return _call("data", load, kwargs)
    _refuse_missing("data", kwargs, ["recipe"])
    model, tokens = reading(kwargs.pop("recipe"))
    load = functools.partial(load, model=model, tokens=tokens)
    return _call("data", load, kwargs, taken=("model", "tokens"))


@functools.lru_cache(maxsize=1)
def reading(path: str) -> tuple[Any, corpus.Corpus]:
    """Returns the language model and the tokens that the recipe of a dump names."""
    values = reader_recipe(path)
    model, documents = language_model(values["lm"]), texts(values["text"]).documents
    names = {"length": "length", "documents": "most", "held_out": "held_out", "seed": "seed"}
    return model, corpus.cut(model, documents, **{to: values[name] for name, to in names.items()})


def texts(group: Group) -> Any:
    """Returns the texts that a group `dict(name, **kwargs)` names."""
    name, kwargs = _split_name("text", group)
    return _call("text", _module("text", "text", name).load, kwargs)


def language_model(group: Group) -> Any:
    """Returns the language model that a group `dict(name, **kwargs)` names."""
    name, kwargs = _split_name("lm", group)
    return _call("lm", _module("lm", "lm", name).load, kwargs)


def recipe(path: str) -> ml_collections.ConfigDict:
    """Returns the config that `path` names.

    Args:
      path: "configs/dumps/<name>.py", with ":<variant>" if it has any, or the recipe.json that a
        dump left in its store, which knows what flags said.

    Raises:
      UserError: there is no such file or variant, or it is no config, or not that of a dump.
    """
    name, _, variant = path.partition(":")
    file = Path(name).expanduser()
    if not file.is_file():
        raise errors.UserError(f"config.data.recipe={path}: there is no such file")
    try:
        if file.suffix == ".json":
            found = from_json(file.read_text())
        else:
            module: Any = importlib.import_module(".".join(file.with_suffix("").parts))
            found = module.get_config(variant)
    except (OSError, ValueError, TypeError, ImportError, AttributeError) as error:
        raise errors.UserError(f"config.data.recipe={path}: {error}") from error
    needed = (*_OF_STORE, *(_OF_ARRAYS if "files" in found else _OF_TEXT))
    if missing := [key for key in needed if key not in found]:
        raise errors.UserError(
            f"config.data.recipe={path} is no dump, as it lacks {', '.join(missing)}: name a file "
            "of configs/dumps, or the recipe.json that a dump left in its store"
        )
    return found


def reader_recipe(path: str) -> Group:
    """Returns the recipe that `path` names, plain, of a store that a language model was read for.

    Raises:
      UserError: as of `recipe`, or its store is of arrays.
    """
    values = plain(recipe(path))
    if "lm" not in values:
        raise errors.UserError(
            f"config.data.recipe={path} is of arrays and names no language model: name the recipe "
            "of a dump of one"
        )
    return values


def from_json(text: str) -> ml_collections.ConfigDict:
    """Returns a config that was kept as JSON, which knows no tuples; raises ValueError."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(inner) for key, inner in value.items()}
        return tuple(tuples(inner) for inner in value) if isinstance(value, list) else value

    return ml_collections.ConfigDict(tuples(json.loads(text)))


def losses_by_name() -> dict[str, Callable[..., Any]]:
    """Returns every loss term that there is."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(losses.__path__):
        found |= _functions(importlib.import_module(f"sae_jax.losses.{info.name}"))
    return found


def modules_in(folder: str) -> list[str]:
    """Returns the names that a folder of `sae_jax` offers."""
    package = importlib.import_module(f"sae_jax.{folder}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in _SHARED)


_SHARED = {  # Files of a folder that are no component.
    *("base", "corpus", "layers", "world"),
    *("edit", "extras", "generate", "llama", "rope", "tokens"),
}
_EVALUATION = ("split", "batch_size", "metrics")
_ANY_EVALUATION = (*_EVALUATION, "corruption")
_LEAST = dict(seed=0, eval_every=0, checkpoint_every=0) | dict.fromkeys(
    ("num_steps", "batch_size", "parts", "log_every", "dead_after", "keep_checkpoints"), 1
)
_OF_STORE = ("store", "sites", "held_out", "dtype", "outlier", "shard_bytes")  # Of a dump.
_OF_ARRAYS = ("files",)
_OF_TEXT = ("lm", "text", "length", "documents", "seed", "batch_size")
_DECODE = ("hierarchical_topk", "matryoshka", "matryoshka_random", "multi_topk")  # By themselves.
_GROUPS = (
    *("data", "corruption", "model", "loss", "normaliser"),
    *("optim", "remedy", "calibration", "evals", "mesh"),
)


def _check_keys(values: Group) -> None:
    """Raises for a key at the top that nothing reads, or that is not there."""
    known = [*_LEAST, *_GROUPS]
    _refuse_unknown("", values, known)
    _refuse_missing("", values, known)


def _check_evaluations(evaluations: Group) -> None:
    """Raises for a name under which the training steps' own metrics are written."""
    if "train" in evaluations:
        raise errors.UserError(
            "config.evals.train: rows named train/... are those of training steps; "
            "call it train_split"
        )


def _check_numbers(values: Group) -> None:
    """Raises for a number at the top that cannot be."""
    for name, least in _LEAST.items():
        if values[name] < least:
            raise errors.UserError(f"config.{name}={values[name]}: it must be {least} or more")
    if values["seed"] >= 2**32:
        raise errors.UserError(f"config.seed={values['seed']}: it must be below 2**32")


def _check_targets(normaliser: Group, remedy: Group, spec: Any) -> None:
    """Raises where targets that are no examples are scaled, or latents made anew, as if they were.

    A latent made of inputs would write inputs.
    """
    for where, group in (("normaliser", normaliser), ("remedy", remedy)):
        if spec.target_shape is not None and group != {"name": "none"}:
            raise errors.UserError(
                f"config.{where}: the targets of {spec.name} are no examples of it: set "
                f'config.{where}.name="none"'
            )


def _check_terms(terms: Group, model: Any) -> None:
    """Raises for a term that would reconstruct otherwise than the model does."""
    plain = dict(output="identity", skip="none", hidden=())
    for name in terms:
        for field, value in plain.items() if name in _DECODE else ():
            if (found := getattr(model, field, value)) != value:
                raise errors.UserError(
                    f"config.loss.{name} decodes by w_dec and b_dec alone, and config.model.{field}"
                    f"={found!r} would be left out: choose {value!r}, or another term"
                )


def _method(
    values: Group,
    model: Any,
    grid: tuple[int, ...] | None,
    latent_axes: Mapping[str, int],
    devices: Mesh,
) -> step.Method:
    num_steps = values["num_steps"]
    name, kwargs = _split_name("optim", values["optim"])
    _refuse_missing("optim", kwargs, ["learning_rate"])
    learning_rate = _number("optim.learning_rate", kwargs.pop("learning_rate"), num_steps)
    constraint_name = kwargs.pop("constraint", "none")  # As the optimisers' own default.
    constraint = _pick("optim.constraint", _functions(constraints), constraint_name)()
    optimizer = functools.partial(
        _pick("optim", _functions(optimizers), name),
        functools.partial(schedule.value, learning_rate),
    )
    normaliser_name, normaliser_kwargs = _split_name("normaliser", values["normaliser"])
    normaliser = _pick("normaliser", normalise.BY_NAME, normaliser_name)
    return step.Method(
        model=model,
        terms={name: _term(name, value, num_steps) for name, value in values["loss"].items()},
        optimizer=_call(
            "optim",
            functools.partial(optimizer, constraint=constraint.link),
            kwargs,
            taken=("learning_rate", "constraint"),
        ),
        project=constraint.project,
        learning_rate=learning_rate,
        normaliser=_call("normaliser", normaliser, normaliser_kwargs),
        dead_after=values["dead_after"],
        corruption=_corruption("corruption", values["corruption"], grid),
        remedy=_remedy(values["remedy"], values["optim"]),
        parts=values["parts"],
        latent_axes=latent_axes,
        factored=devices.size == 1 and devices.devices.flat[0].platform == "cpu",
        stored={"parameters": "float32", **kwargs}["parameters"],  # As adam's own default.
    )


def _remedy(group: Group, optim: Group) -> remedies.Remedy | None:
    """Returns the remedy that a group names, or None."""
    name, kwargs = _split_name("remedy", group)
    if name == "none":
        _refuse_unknown("remedy", kwargs, [])
        return None
    of = _pick("remedy", {**_functions(remedies), "none": None}, name)
    if optim["name"] == "adafactor":
        raise errors.UserError(
            f"config.remedy: {name} makes latents anew, and adafactor cannot forget single ones: "
            'set config.optim.name="adam", with moments="int8" where memory is short'
        )
    if optim.get("average") or optim["name"] == "schedule_free_adam":
        raise errors.UserError(
            f"config.remedy: {name} makes latents anew, and an average of parameters would mix "
            "them with the old: set config.optim.average=0 and another optimiser than "
            "schedule_free_adam"
        )
    return _call("remedy", of, kwargs)


def _corruption(where: str, group: Group, grid: tuple[int, ...] | None) -> corrupt.Corruption:
    """Returns the corruption that a group names; "none" is none."""
    name, kwargs = _split_name(where, group)
    functions = _functions(corrupt)
    if name == "none":
        _refuse_unknown(where, kwargs, [])
        return corrupt.Corruption()
    of = _pick(where, {**functions, "none": None}, name)
    knobs = list(inspect.signature(of).parameters)[3:]
    _refuse_unknown(where, kwargs, knobs)
    _refuse_missing(where, kwargs, [k for k in knobs if _is_needed(of, k)])
    of = functools.partial(of, **kwargs)
    try:
        x = jax.ShapeDtypeStruct((math.prod(grid or (1,)),), np.float32)
        jax.eval_shape(lambda key, x: of(key, x, grid), jax.random.key(0), x)
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"config.{where}: {error}") from error
    return corrupt.Corruption(of, grid)


def _model(group: Group, spec: Any, num_steps: int) -> Any:
    name, kwargs = _split_name("model", group)
    model = _module("model", "models", name).Model
    fields = _fields(model)
    for key, value in kwargs.items():
        if key == "activation":
            kwargs[key] = _activation(value, num_steps)
        elif isinstance(value, dict):
            kwargs[key] = _number(f"model.{key}", value, num_steps)
        elif isinstance(value, list):
            kwargs[key] = tuple(value)
    if spec.d_out != spec.d_in and "d_out" not in fields:
        raise errors.UserError(
            f'config.model: "{name}" reconstructs its input; {spec.name} asks for {spec.d_out} '
            f"numbers from {spec.d_in}"
        )
    known = dict(d_in=spec.d_in, d_out=spec.d_out, grid=spec.grid)
    given = {key: value for key, value in known.items() if key in fields}
    return _call("model", functools.partial(model, **given), kwargs, taken=tuple(given))


def _on(grid: Any, model: Any) -> Any:
    """Returns the model with all its latents encoded at once where devices have parts of them."""
    shards = grid.shape["dictionary"]
    if shards == 1 or not isinstance(model, sae.SparseAutoencoder):
        return model
    if model.blocks > 1:
        raise errors.UserError(
            f"config.model.blocks={model.blocks}: latents that are split over config.mesh."
            f"dictionary={shards} are not encoded in blocks besides: set one of them to 1"
        )
    return model.clone(blocks=1)


def _activation(group: Group, num_steps: int) -> Any:
    name, kwargs = _split_name("model.activation", group)
    activation = _module("model.activation", "activations", name).Activation
    kwargs = {
        key: _number(f"model.activation.{key}", value, num_steps)
        if isinstance(value, dict)
        else value
        for key, value in kwargs.items()
    }
    return _call("model.activation", activation, kwargs)


def _term(name: str, value: Any, num_steps: int) -> step.Term:
    """Returns a term from its weight, or from `dict(weight=..., **knobs)`."""
    of = _pick("loss", losses_by_name(), name)
    if not isinstance(value, dict) or "name" in value:
        return step.Term(of, _number(f"loss.{name}", value, num_steps))
    knobs = {
        key: _number(f"loss.{name}.{key}", knob, num_steps)
        if isinstance(knob, dict) and key != "weight"
        else knob
        for key, knob in value.items()
    }
    _refuse_missing(f"loss.{name}", knobs, ["weight"])
    weight = _number(f"loss.{name}.weight", knobs.pop("weight"), num_steps)
    allowed = [
        key
        for key, parameter in inspect.signature(of).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and key != "model"
    ]
    _refuse_unknown(f"loss.{name}", knobs, [*allowed, "weight"])
    return step.Term(functools.partial(of, **knobs), weight)


def _number(where: str, value: Any, num_steps: int) -> schedule.Number:
    """Returns a number, or the schedule that a dict names."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, per_member.PerMember):
        return value
    if not isinstance(value, dict):
        raise errors.UserError(f"config.{where}={value!r} is neither a number nor a schedule")
    name, kwargs = _split_name(where, value)
    make = _pick(where, _functions(schedules), name)
    made = _call(where, functools.partial(make, num_steps), kwargs, taken=("num_steps",))
    return made if per_member.within(kwargs) else schedule.Bounded(made, num_steps)


def _evaluation(
    where: str, group: Group, data_group: Group, load: Callable[[Group], Any]
) -> evaluate.Evaluation:
    _refuse_unknown(where, group, _ANY_EVALUATION)
    _refuse_missing(where, group, _EVALUATION)
    measured = load({**data_group, "split": group["split"]})
    corruption = {"corruption": {"name": "none"}, **group}["corruption"]
    return evaluate.Evaluation(
        data=measured,
        metrics=dict(
            _metric(f"{where}.metrics", metric, measured.spec) for metric in group["metrics"]
        ),
        batch_size=group["batch_size"],
        corruption=_corruption(f"{where}.corruption", corruption, measured.spec.grid),
    )


def _calibration(
    group: Group, data_group: Group, load: Callable[[Group], Any]
) -> calibrate.Calibration | None:
    """Returns what `dict(name="l0", l0=..., split=...)` says, or None."""
    name, kwargs = _split_name("calibration", group)
    if name == "none":
        _refuse_unknown("calibration", kwargs, [])
        return None
    _pick("calibration", {"l0": None, "none": None}, name)
    _refuse_missing("calibration", kwargs, ["split"])
    held_out = load({**data_group, "split": kwargs.pop("split")})
    of = functools.partial(calibrate.Calibration, data=held_out)
    return _call("calibration", of, kwargs, taken=("data", "split"))


def _metric(where: str, value: Any, spec: Any) -> tuple[str, evaluate.Metric]:
    """Returns name and metric from a name, or from `dict(name=..., **knobs)`."""
    name, knobs = _split_name(where, {"name": value} if isinstance(value, str) else value)
    module = _module(where, "metrics", name)
    given = list(inspect.signature(module.sums).parameters)[3:]
    allowed = [key for key in given if key not in ("model", "grid", "prepared")]
    _refuse_unknown(where, knobs, allowed)
    _refuse_missing(where, knobs, [key for key in allowed if _is_needed(module.sums, key)])
    if "grid" in given:  # What a target, reshaped, is.
        knobs["grid"] = spec.grid if spec.target_shape is None else None
    prepare = getattr(module, "prepare", None)
    return name, evaluate.Metric(functools.partial(module.sums, **knobs), module.finish, prepare)


def _is_needed(function: Callable[..., Any], parameter: str) -> bool:
    """Returns whether a parameter has no default."""
    default = inspect.signature(function).parameters[parameter].default
    return default is inspect.Parameter.empty


def _call(where: str, make: Callable[..., Any], kwargs: Group, taken: tuple[str, ...] = ()) -> Any:
    """Calls a constructor with a group's keys; a wrong one is an error that names the group."""
    parameters = inspect.signature(make).parameters
    allowed = [name for name in parameters if name not in (*taken, "parent", "name")]
    _refuse_unknown(where, kwargs, allowed)
    needed = [name for name in allowed if _is_needed(make, name)]
    _refuse_missing(where, kwargs, needed)
    try:
        return make(**kwargs)
    except errors.UserError:
        raise
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"config.{where}: {error}") from error


def _split_name(where: str, group: Any) -> tuple[str, Group]:
    if not isinstance(group, dict) or "name" not in group:
        raise errors.UserError(f'config.{where} names nothing: give it name="..."')
    if not isinstance(group["name"], str):
        raise errors.UserError(f"config.{where}: name={group['name']!r} is not a name")
    return group["name"], {key: value for key, value in group.items() if key != "name"}


def _module(where: str, folder: str, name: str) -> ModuleType:
    names = modules_in(folder)
    _pick(where, dict.fromkeys(names), name)
    return importlib.import_module(f"sae_jax.{folder}.{name}")


def _pick(where: str, choices: dict[str, Any], name: str) -> Any:
    if name not in choices:
        raise errors.UserError(
            f'config.{where}: there is no "{name}"{_meant(name, choices)}; '
            f"there are {', '.join(sorted(choices))}"
        )
    return choices[name]


def _refuse_unknown(where: str, given: Any, allowed: Sequence[str]) -> None:
    for key in given:
        if key not in allowed:
            raise errors.UserError(
                f'{_dotted(where)} has no "{key}"{_meant(key, allowed)}; '
                f"it takes {', '.join(sorted(allowed)) or 'nothing'}"
            )


def _refuse_missing(where: str, given: Any, needed: Iterable[str]) -> None:
    if missing := [key for key in needed if key not in given]:
        raise errors.UserError(f"{_dotted(where)} lacks {', '.join(missing)}")


def _dotted(where: str) -> str:
    return f"config.{where}" if where else "config"


def _meant(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Returns the public functions that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def _fields(of: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(of)]
